//! The folder of one test run: short, private, and gone when the process is.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};

/// A unix socket's path may have 107 bytes; `pg/.s.PGSQL.5432` and the folder's own name come to 40.
const LONGEST_PARENT: usize = 60;

/// This process's folder, made at first use.
pub fn run() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let temporary = std::env::temp_dir();
        let parent = if temporary.as_os_str().len() <= LONGEST_PARENT { temporary } else { PathBuf::from("/tmp") };
        let folder = tempfile::Builder::new().prefix("mailroster-").tempdir_in(parent).expect("a temporary folder").keep();
        // Postgres runs under a user of its own and must be able to pass through, not to look around.
        fs::set_permissions(&folder, Permissions::from_mode(0o711)).expect("set permissions");
        remove_at_exit(&folder);
        folder
    });
    &FOLDER
}

/// A folder inside it, for servers of a test's own: those that it kills or stops.
pub fn own(name: &str) -> PathBuf {
    let folder = run().join(name);
    fs::create_dir(&folder).unwrap_or_else(|error| panic!("the folder {name} must be this test's alone: {error}"));
    folder
}

/// Statics are never dropped and a killed process drops nothing, so a small shell removes the folder: it reads a pipe whose other
/// end only this process holds, and so learns of the end, whichever it is. Servers may write for another moment: it tries again.
fn remove_at_exit(folder: &Path) {
    static JANITOR: Mutex<Option<Child>> = Mutex::new(None);
    let script =
        r#"trap '' INT TERM HUP; read -r _; for _ in $(seq 100); do rm -rf "$1" 2>/dev/null && [ ! -e "$1" ] && exit; sleep 0.1; done"#;
    let janitor = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0) // Ctrl-C in the terminal is not meant for it
        .spawn()
        .expect("sh");
    *JANITOR.lock().expect("janitor") = Some(janitor);
}
