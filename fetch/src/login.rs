//! `crate-fetch --login` and `--logout`: a user name and password for a registry, tried and then kept where other
//! tools find them too.

use crate::authfile::{self, AuthFile};
use crate::credentials::{self, Credentials, Login};
use crate::endpoint::Endpoint;
use crate::http::Http;
use crate::keychain::Asked;
use crate::progress::Progress;
use crate::prompt;
use crate::registries::{self, Place};
use lexopt::{Arg, Parser, ValueExt};
use std::io::{Read, Write, stdin, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use store::error::Doing;
use store::json::object;
use store::{Error, Reference, Result};

/// The longest password that is read, in bytes.
const LIMIT: u64 = 64 << 10;

const HELP: &str = "\
Usage: crate-fetch --login [OPTION]... [REGISTRY]
       crate-fetch --logout [--all] [--authfile FILE] [REGISTRY]

Tries a user name and a password at a registry, and keeps them for it; or removes them.
REGISTRY is HOST[:PORT], perhaps with a namespace behind it (default docker.io).
What is not given is asked for at the terminal.

  -u, --username USER  the user name
  --password-stdin     read the password from standard input
  --get-login          print the user name that is kept, and do no more
  --authfile FILE      the file to keep them in, and to look for them
  --tls-verify=false, --insecure
                       allow plain http, to other machines too
  --cacert FILE        trust the certificates in FILE (PEM) as well
  --all                remove all that are kept
  -h, --help           print this

Exit status: 0 done; 1 failed, or not accepted; 2 usage; 3 there are none; 5 the registry or network failed; 6 refused.
";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Login,
    GetLogin,
    Logout,
    LogoutOfAll,
}

struct Request {
    verb: Verb,
    registry: Option<String>,
    user: Option<String>,
    password_stdin: bool,
    insecure: bool,
    cacert: Option<PathBuf>,
    authfile: Option<PathBuf>,
}

/// The registry that is meant.
struct Target {
    /// The key for it in files.
    key: String,
    reference: Reference,
}

impl Request {
    fn new(verb: Verb) -> Self {
        let (registry, user, cacert, authfile) = (None, None, None, None);
        Self { verb, registry, user, password_stdin: false, insecure: false, cacert, authfile }
    }
}

/// Does what a command line that begins with `--login` or `--logout` asks for; `None`: it does not.
pub fn run() -> Option<Result<()>> {
    let verb = std::env::args_os().nth(1)?;
    let login = verb == "--login";
    (login || verb == "--logout").then(|| match parse(Parser::from_args(std::env::args_os().skip(2)), login)? {
        None => say(HELP.trim_end()),
        Some(request) => match request.verb {
            Verb::Login => self::login(&request),
            Verb::GetLogin => get_login(&request),
            Verb::Logout => logout(&request),
            Verb::LogoutOfAll => logout_of_all(&request),
        },
    })
}

fn parse(mut parser: Parser, login: bool) -> Result<Option<Request>> {
    let mut request = Request::new(if login { Verb::Login } else { Verb::Logout });
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            Arg::Long("authfile") => request.authfile = Some(parser.value()?.into()),
            Arg::Long("all") | Arg::Short('a') if !login => request.verb = Verb::LogoutOfAll,
            Arg::Short('u') | Arg::Long("username") if login => request.user = Some(parser.value()?.string()?),
            Arg::Long("password-stdin") if login => request.password_stdin = true,
            Arg::Long("get-login") if login => request.verb = Verb::GetLogin,
            Arg::Long("insecure") if login => request.insecure = true,
            Arg::Long("cacert") if login => request.cacert = Some(parser.value()?.into()),
            Arg::Long("tls-verify") if login => {
                request.insecure = match parser.optional_value().as_deref().map(std::ffi::OsStr::to_str) {
                    None | Some(Some("true" | "1")) => false,
                    Some(Some("false" | "0")) => true,
                    _ => return Err(Error::Usage("--tls-verify is true or false".into())),
                }
            }
            Arg::Short('p') | Arg::Long("password") if login => {
                let hint = "hint: give it on standard input, with --password-stdin";
                return Err(Error::Usage(format!("a password among the arguments is seen by everybody\n{hint}")));
            }
            Arg::Value(value) if request.registry.is_none() => request.registry = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if request.verb == Verb::LogoutOfAll && request.registry.is_some() {
        return Err(Error::Usage("--all takes no registry".into()));
    }
    Ok(Some(request))
}

fn target(request: &Request) -> Result<Target> {
    let typed = request.registry.as_deref().unwrap_or("docker.io");
    let key = typed.strip_prefix("https://").or_else(|| typed.strip_prefix("http://")).unwrap_or(typed);
    let key = key.trim_end_matches('/');
    let key = if key.starts_with("index.docker.io") { "docker.io" } else { key };
    let refuse = || Error::Usage(format!("not a registry: {typed:?}\nhint: give HOST[:PORT][/NAMESPACE]"));
    let reference: Reference = format!("{key}/x").parse().map_err(|_| refuse())?;
    if key.split('/').next() != Some(&reference.host) {
        return Err(refuse());
    }
    Ok(Target { key: key.to_owned(), reference })
}

fn say(text: &str) -> Result<()> {
    writeln!(stdout(), "{text}").doing(|| "writing standard output".into())
}

fn get_login(request: &Request) -> Result<()> {
    let Target { key, reference } = target(request)?;
    let found = match &request.authfile {
        Some(path) => credentials::find_in(&AuthFile::read(path)?, &reference.host, &reference.repository)?,
        None => credentials::find(&reference.host, &reference.repository)?,
    };
    say(&found.ok_or_else(|| Error::NotFound(format!("not logged in to {key}")))?.user)
}

/// Everything that needs the user or another program comes before the first byte from the network.
fn login(request: &Request) -> Result<()> {
    let Target { key, reference } = target(request)?;
    let path = request.authfile.clone().map_or_else(authfile::own, Ok)?;
    let keychain = AuthFile::read(&path)?.keychain(&reference.host)?;
    let place = registries::places(&reference)?.pop().filter(|place| place.host == reference.host);
    let login = ask(request)?;
    let credentials = Credentials::new(&login, "standard input".into())?;
    let store = match keychain {
        Some((name, key)) => Some((Asked::start(&name, "store", &path)?, key)),
        None => None,
    };
    let (host, repository) = (reference.host.clone(), reference.repository.clone());
    let place = Place { host, repository, insecure: request.insecure || place.is_some_and(|place| place.insecure) };
    let mut http = Http::new(30, request.cacert.as_deref(), Arc::new(Progress::new(false)))?;
    if place.insecure {
        http.believe(&place.host);
    }
    Endpoint::new(Arc::new(http), place, &reference, Some(credentials)).login()?;
    match store {
        Some((asked, key)) => {
            let fields = [("ServerURL", &key), ("Username", &login.user), ("Secret", &login.secret)];
            let input = object(fields.map(|(name, text)| (name, text.into())).into());
            asked.finish(&input.to_string())?;
        }
        None => AuthFile::change(&path, |file| file.set(&key, &login))?,
    }
    say("Login Succeeded!")
}

fn ask(request: &Request) -> Result<Login> {
    let wanting = |hint: &str| Error::Usage(format!("standard input is no terminal to ask at\nhint: {hint}"));
    let user = match &request.user {
        Some(user) => user.clone(),
        None if request.password_stdin => return Err(Error::Usage("--password-stdin wants -u USER too".into())),
        None if prompt::possible() => prompt::line("Username: ")?,
        None => return Err(wanting("give -u USER and --password-stdin")),
    };
    if user.is_empty() || user == Login::IDENTITY || user.contains(|c: char| c == ':' || c.is_control()) {
        return Err(Error::Usage("a user name is one line, not empty and without a colon".into()));
    }
    let secret = if request.password_stdin {
        let mut text = String::new();
        stdin().take(LIMIT + 1).read_to_string(&mut text).doing(|| "reading standard input".into())?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        text.strip_suffix('\r').unwrap_or(text).to_owned()
    } else if prompt::possible() {
        prompt::hidden("Password: ")?
    } else {
        return Err(wanting("give --password-stdin"));
    };
    if secret.is_empty() || secret.len() as u64 > LIMIT || secret.contains(char::is_control) {
        return Err(Error::Usage("a password is one line of 1 to 65536 bytes".into()));
    }
    Ok(Login { user, secret })
}

fn logout_of_all(request: &Request) -> Result<()> {
    let path = request.authfile.clone().map_or_else(authfile::own, Ok)?;
    for (name, key) in AuthFile::read(&path)?.keychains()? {
        Asked::start(&name, "erase", &path)?.finish(&key)?;
    }
    if path.exists() {
        AuthFile::change(&path, |file| file.unset(None))?;
    }
    say("Removed login credentials for all registries")
}

fn logout(request: &Request) -> Result<()> {
    let path = request.authfile.clone().map_or_else(authfile::own, Ok)?;
    let file = AuthFile::read(&path)?;
    let Target { key, reference } = target(request)?;
    let mut removed = file.has(&key)? && AuthFile::change(&path, |file| file.unset(Some(&key)))?;
    if let Some((name, server)) = file.keychain(&reference.host)? {
        removed |= Asked::start(&name, "erase", &path)?.finish(&server)?.is_some();
    }
    if !removed {
        let other = credentials::find(&reference.host, &reference.repository)?;
        let hint = other.map_or_else(String::new, |other| format!("\nhint: there are credentials in {}", other.kept));
        return Err(Error::NotFound(format!("not logged in to {key} by {}{hint}", path.display())));
    }
    say(&format!("Removed login credentials for {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(registry: &str) -> Result<String> {
        let request = Request { registry: Some(registry.into()), ..Request::new(Verb::Login) };
        target(&request).map(|target| target.key)
    }

    #[test]
    fn reads_registries() {
        for (typed, wanted) in [
            ("q.io", "q.io"),
            ("localhost:5000", "localhost:5000"),
            ("https://q.io/", "q.io"),
            ("q.io/team/x", "q.io/team/x"),
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
        ] {
            assert_eq!(key(typed).unwrap(), wanted);
        }
        for bad in ["", "q", "q.io/A", "q.io:x", "q.io/x:1", "-q.io", "q.io\n"] {
            assert_eq!(key(bad).unwrap_err().exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let bad: [&[&str]; 6] = [
            &["-p", "x", "q.io"],
            &["--password=x", "q.io"],
            &["a.b", "c.d"],
            &["--all"],
            &["--tls-verify=x"],
            &["-x"],
        ];
        for args in bad {
            assert_eq!(parse(Parser::from_args(args), true).err().unwrap().exit_code(), 2, "{args:?}");
        }
        assert!(parse(Parser::from_args(["--all", "q.io"]), false).is_err());
        assert!(parse(Parser::from_args(["--tls-verify=false", "q.io"]), true).unwrap().unwrap().insecure);
    }
}
