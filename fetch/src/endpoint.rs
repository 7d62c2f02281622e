//! Pulling from one place (distribution-spec, "Pull"): manifests and blobs of a repository at one host.

use crate::auth::Auth;
use crate::body::reason;
use crate::credentials::Credentials;
use crate::header::{challenges, content_range};
use crate::http::{Answer, Get, Http};
use crate::registries::{Place, api_host};
use crate::url::Url;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use store::blob::Ingest;
use store::json::MANIFEST_LIMIT;
use store::oci::Descriptor;
use store::{Digest, Error, Reference, Result};

/// Media types of manifests that are asked for, the preferred first.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// How much of a blob is read at once.
const BUFFER: usize = 1 << 20;
/// A request that brings fewer bytes than this before it fails brought nothing.
const LEAST: u64 = 16 << 10;
/// How many requests in a row may bring nothing.
const IDLE_LIMIT: u32 = 5;
/// A request that brings so many bytes before it fails is followed by the next one at once.
const ENOUGH: u64 = 1 << 20;

/// One repository at one host.
pub struct Endpoint {
    http: Arc<Http>,
    place: Place,
    /// What was asked for, perhaps by another name than it has here.
    reference: Reference,
    /// Where requests go; found out by the first.
    base: OnceLock<Url>,
    auth: Auth,
}

/// A manifest's bytes, as received.
pub struct Received {
    /// The bytes; they match their digest, where one was asked for.
    pub bytes: Vec<u8>,
    /// The `Content-Type` without parameters.
    pub media_type: Option<String>,
}

impl Endpoint {
    /// Sends nothing yet.
    pub fn new(http: Arc<Http>, place: Place, reference: &Reference, credentials: Option<Credentials>) -> Self {
        let auth = Auth::new(credentials, &place.repository);
        Self { http, place, reference: reference.clone(), base: OnceLock::new(), auth }
    }

    /// The host that is asked.
    pub fn host(&self) -> &str {
        &self.place.host
    }

    /// The root of the host's API.
    fn base(&self) -> Result<&Url> {
        if let Some(base) = self.base.get() {
            return Ok(base);
        }
        let base = base(&self.http, api_host(&self.place.host))?;
        Ok(self.base.get_or_init(|| base))
    }

    /// Gets the index or manifest of a tag or digest.
    pub fn manifest(&self, name: &str) -> Result<Received> {
        let mut answer = self.ask(false, &format!("manifests/{name}"), ACCEPT, 0, self.http.timeout)?;
        if answer.status != 200 {
            let mut what = self.reference.to_string();
            if !what.ends_with(name) {
                what = format!("{what}, manifest {name}");
            }
            return Err(self.failure(&mut answer, &what));
        }
        let media_type = answer.header("content-type").and_then(|text| text.split(';').next());
        let media_type = media_type.map(|text| text.trim().to_ascii_lowercase());
        let stated = answer.header("docker-content-digest").map(str::parse::<Digest>).transpose()?;
        let bytes = answer.read_all(MANIFEST_LIMIT)?;
        for expected in stated.into_iter().chain(name.parse()) {
            let mut hasher = expected.hasher();
            hasher.update(&bytes);
            let actual = hasher.finish();
            if actual != expected {
                let host = answer.url.authority();
                return Err(Error::Refused(format!(
                    "manifest {expected} of {host} has other content: its digest is {actual}"
                )));
            }
        }
        Ok(Received { bytes, media_type })
    }

    /// The digest that a tag has by now, by a HEAD, which limits of pulls do not count; `None`: the registry does not
    /// say it so, and is to be asked by GET.
    pub fn digest(&self, tag: &str) -> Result<Option<Digest>> {
        let answer = self.ask(true, &format!("manifests/{tag}"), ACCEPT, 0, self.http.timeout)?;
        let stated = answer.header("docker-content-digest").filter(|_| answer.status == 200);
        Ok(stated.and_then(|text| text.parse().ok()))
    }

    /// Brings the rest of a blob; `advance` is told how much is here. Goes on where a connection is lost.
    pub fn blob(&self, ingest: &mut Ingest, advance: &dyn Fn(u64)) -> Result<()> {
        let size = ingest.expected().size;
        let (mut idle, mut whole) = (0, false);
        while ingest.offset() < size {
            let before = ingest.offset();
            let mut answered = false;
            let error = match self.blob_once(ingest, &mut whole, &mut answered, advance) {
                Ok(()) => return Ok(()),
                // Without any answer the request has been tried often enough.
                Err(error @ Error::Network(_)) if answered => error,
                Err(error) => return Err(error),
            };
            let brought = ingest.offset().saturating_sub(before);
            idle = if brought < LEAST { idle + 1 } else { 0 };
            let wait = Duration::from_millis(250 << idle);
            if idle >= IDLE_LIMIT || brought < ENOUGH && !self.http.patience.wait(wait) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// One request for a blob, from where it stopped, or for the `whole` of it, which is set where the registry cannot
    /// serve a range; `answered` tells whether it gave any of it, or is to be asked otherwise.
    fn blob_once(
        &self,
        ingest: &mut Ingest,
        whole: &mut bool,
        answered: &mut bool,
        advance: &dyn Fn(u64),
    ) -> Result<()> {
        let Descriptor { digest, size, .. } = ingest.expected().clone();
        let from = ingest.offset();
        let first = if *whole { 0 } else { from };
        let mut answer = self.ask(false, &format!("blobs/{digest}"), "*/*", first, self.http.timeout)?;
        let host = answer.url.authority();
        let refuse = |length: &str| Error::Refused(format!("blob {digest} at {host} is of {length} bytes, not {size}"));
        let range = content_range(answer.header("content-range").unwrap_or_default());
        let mut skip = match (answer.status, range) {
            (200, _) => from,
            (206, Some((at, total))) if at == first && total == size => from - first,
            (206, Some((at, total))) if at == first => return Err(refuse(&total.to_string())),
            (206 | 416, _) => {
                (*whole, *answered) = (true, true);
                return Err(Error::Network(format!(
                    "{host} does not give the range of blob {digest} that was asked for"
                )));
            }
            _ => return Err(self.failure(&mut answer, &format!("{}, blob {digest}", self.reference))),
        };
        let partial = answer.status == 206;
        *answered = true;
        let wanted = if partial { size - first } else { size };
        if let Some(length) = answer.length().filter(|length| *length != wanted) {
            return Err(refuse(&length.saturating_add(size - wanted).to_string()));
        }
        let mut buffer = vec![0; BUFFER.min(usize::try_from(wanted).unwrap_or(BUFFER).saturating_add(1))];
        loop {
            let count = answer.read(&mut buffer)?;
            if count == 0 && ingest.offset() < size {
                let here = ingest.offset();
                return Err(Error::Network(format!(
                    "the connection to {host} was lost after {here} of {size} bytes of blob {digest}"
                )));
            }
            if count == 0 {
                return Ok(());
            }
            let known = usize::try_from(skip).unwrap_or(count).min(count);
            skip -= known as u64;
            ingest.write(&buffer[known..count])?;
            advance(ingest.offset());
        }
    }

    /// Tries the credentials, where the registry asks for any.
    pub fn login(&self) -> Result<()> {
        let mut answer = self.ask_at(false, "/v2/".into(), "*/*", 0, self.http.timeout)?;
        let host = answer.url.authority();
        match answer.status {
            200..300 => Ok(()),
            401 | 403 if self.auth.withheld().is_none() => {
                Err(Error::Failed(format!("{host} does not accept this user name and password")))
            }
            _ => Err(self.failure(&mut answer, "a login")),
        }
    }

    /// A GET or HEAD below the repository.
    fn ask(&self, head: bool, path: &str, accept: &str, from: u64, timeout: u64) -> Result<Answer> {
        self.ask_at(head, format!("/v2/{}/{path}", self.place.repository), accept, from, timeout)
    }

    /// A request, with a token renewed where the registry asks for one.
    fn ask_at(&self, head: bool, path: String, accept: &str, from: u64, timeout: u64) -> Result<Answer> {
        let base = self.base()?;
        let url = base.with_path(path);
        let mut used = self.auth.header();
        for last in [false, false, true] {
            let get = Get { head, url: url.clone(), accept, authorization: used.as_deref(), from, timeout };
            let answer = self.http.get(&get)?;
            if answer.status != 401 || last || !answer.url.same_origin(base) {
                return Ok(answer);
            }
            let asked: Vec<_> = answer.headers("www-authenticate").flat_map(challenges).collect();
            match self.auth.renew(&self.http, base, used.as_deref(), &asked)? {
                Some(new) => used = Some(new),
                None => return Ok(answer),
            }
        }
        Err(Error::Network(format!("{} asks for a token again and again", base.authority())))
    }

    /// The error that an answer other than the wanted one is; `what` was asked for.
    fn failure(&self, answer: &mut Answer, what: &str) -> Error {
        let (host, status) = (answer.url.authority(), answer.status);
        let body = answer.read_all(64 << 10).unwrap_or_default();
        let said = reason(&body).map_or_else(String::new, |reason| format!(" ({reason})"));
        match status {
            404 | 410 => Error::NotFound(format!("no such image: {what}: {host} answered {status}{said}")),
            401 | 403 => {
                let hint = match (&self.auth.credentials, self.auth.withheld()) {
                    (Some(_), Some(realm)) => {
                        format!("its tokens are of another site, {realm}, which got no credentials")
                    }
                    (Some(credentials), None) => format!("the credentials of {} do not suffice", credentials.kept),
                    (None, _) => format!("there are no credentials for it: crate login {}", self.place.host),
                };
                let what = format!("no such image, or no right to read it: {what}");
                Error::NotFound(format!("{what}: {host} answered {status}{said}\nhint: {hint}"))
            }
            408 | 429 | 500.. => Error::Network(format!("{host} answered {status}{said} to {what}")),
            _ => Error::Failed(format!("{host} answered {status}{said} to {what}")),
        }
    }
}

/// Where the registry is: in https; a plain registry is looked for on this machine, and with `--insecure` elsewhere.
fn base(http: &Http, host: &str) -> Result<Url> {
    let (plain, secure) = (Url::of_host(false, host)?, Url::of_host(true, host)?);
    let plain_first = plain.is_loopback();
    let order = match (plain_first, http.is_insecure(&secure)) {
        // Plain first: a TLS server notices at once, where a plain one may wait for more of the TLS greeting.
        (true, _) => [plain, secure],
        (false, true) => [secure, plain],
        (false, false) => return Ok(secure),
    };
    let mut errors = Vec::new();
    for base in order {
        let timeout = http.timeout.min(10);
        let url = base.with_path("/v2/".into());
        let get = Get { head: false, url, accept: "*/*", authorization: None, from: 0, timeout };
        match http.follow(&get) {
            // A TLS server of the usual libraries answers plain http with 400.
            Ok(answer) if answer.status != 400 => return Ok(base),
            Ok(_) => errors.push(Error::Network(format!("{} speaks no http", base.authority()))),
            Err(failure) => errors.push(failure.error),
        }
    }
    // What TLS says counts: a plain registry would have answered.
    Err(errors.swap_remove(usize::from(plain_first)))
}
