//! What limits and networks of containers want: control groups (cgroups(7)) and pasta(1).

use super::Finding;
use crate::cgroup::{CONTROLLERS, Place, place};
use crate::idmap::find;
use rustix::fs::{Access, CWD};

pub fn findings() -> Vec<Finding> {
    vec![cgroups(), pasta()]
}

/// Of each controller that limits are asked of, where it is; or why it cannot be had, and what mends the first of those.
fn cgroups() -> Finding {
    const NAME: &str = "cgroups";
    let (mut works, mut lacks, mut fix) = (Vec::new(), Vec::new(), None);
    for controller in CONTROLLERS {
        match place(controller) {
            Ok(Place { unified, base }) => {
                let version = if unified { 2 } else { 1 };
                works.push(format!("{controller} in version {version}, {}", base.display()));
            }
            Err(error) => {
                let text = error.to_string();
                let (reason, hint) = text.split_once("\nhint: ").unwrap_or((&text, "see cgroups(7)"));
                lacks.push(format!("{controller} cannot be limited: {reason}"));
                fix.get_or_insert(hint.to_owned());
            }
        }
    }
    let detail = lacks.into_iter().chain(works).collect::<Vec<_>>().join("; ");
    match fix {
        None => Finding::works(NAME, detail),
        Some(fix) => Finding::degraded(NAME, detail, fix),
    }
}

fn pasta() -> Finding {
    const NAME: &str = "pasta";
    let without = "containers have loopback alone, or the host's network";
    let Some(program) = find("pasta") else {
        return Finding::degraded(
            NAME,
            format!("not found: {without}"),
            "apt-get install passt (or your system's package)",
        );
    };
    if access_tun() {
        return Finding::works(NAME, program.display().to_string());
    }
    Finding::degraded(
        NAME,
        format!("/dev/net/tun cannot be opened: {without}"),
        "modprobe tun && chmod 0666 /dev/net/tun",
    )
}

fn access_tun() -> bool {
    rustix::fs::accessat(CWD, "/dev/net/tun", Access::READ_OK | Access::WRITE_OK, rustix::fs::AtFlags::empty()).is_ok()
}
