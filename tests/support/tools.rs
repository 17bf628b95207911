//! Where the servers' programs are.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// The folder of kube-apiserver, kube-controller-manager, etcd and kubectl: what `tests/tools/install` prints. `make test` has run
/// it already and exports the answer as `KUBEBUILDER_ASSETS`; a plain `cargo test` runs it here.
pub fn kubernetes() -> PathBuf {
    static FOLDER: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
        let install = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/install");
        let output = Command::new(install).stderr(Stdio::inherit()).output().map_err(|error| format!("{install}: {error}"))?;
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() && !folder.is_empty() {
            Ok(PathBuf::from(folder))
        } else {
            Err(format!("tests/tools/install failed ({}): it says above what is missing", output.status))
        }
    });
    FOLDER.as_ref().map_or_else(|message| panic!("{message}"), Clone::clone)
}

/// A program of Postgres: from PATH, else the newest in /usr/lib/postgresql/*/bin, where Debian keeps it.
pub fn postgres(program: &str) -> PathBuf {
    let on_path = std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    if let Some(found) = on_path.map(|folder| folder.join(program)).find(|file| file.is_file()) {
        return found;
    }
    let version = |folder: &PathBuf| folder.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut versions: Vec<_> = installed.filter(|folder| folder.join("bin").join(program).is_file()).collect();
    versions.sort_by_key(version);
    let newest = versions.pop().unwrap_or_else(|| panic!("{program} is not installed: apt-get install postgresql"));
    newest.join("bin").join(program)
}

/// The library that gives a process another clock (libfaketime), where Debian and its kin keep it.
pub fn faketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|file| file.is_file());
    found.expect("libfaketime is not installed: apt-get install libfaketime")
}
