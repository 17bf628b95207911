//! An OpenLDAP server with Active Directory's attributes, over ldap://, ldaps:// and a unix socket.
//!
//! One serves all tests of a process, each below an `ou` of its own; whoever stops it or wants another one starts one of its own.

use super::certificates::{Authority, Pair};
use super::process::{Server, Start, free_ports};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

const START: Duration = Duration::from_secs(30);
pub const SUFFIX: &str = "dc=corp,dc=test";
/// The name of the authority that signs the server's certificate.
pub const AUTHORITY: &str = "directory test authority";
pub const ADMINISTRATOR: &str = "cn=admin,dc=corp,dc=test";
pub const ADMINISTRATOR_PASSWORD: &str = "adminpw";
/// The accounts of slapd.conf, and the password of each of them.
pub const ACCOUNTS: [&str; 6] = ["sync", "limited", "narrow", "dim", "faceless", "timeless"];
pub const PASSWORD: &str = "Pl4nted-directory-password";

pub struct Slapd {
    folder: PathBuf,
    ldap: u16,
    ldaps: u16,
    /// The CA of the certificate that it shows, which bears 127.0.0.1 and `ldap.corp.test`; None: it knows no TLS.
    authority: Option<Authority>,
    server: Mutex<Option<Server>>,
}

impl Slapd {
    /// In a folder `slapd` of this one, with the suffix and the accounts, and with TLS.
    pub async fn start(folder: &Path) -> Self {
        Self::make(folder, "", true).await
    }

    /// One that refuses StartTLS.
    pub async fn start_without_tls(folder: &Path) -> Self {
        Self::make(folder, "", false).await
    }

    /// One with these entries besides, loaded in bulk: LDIF, each behind an empty line.
    pub async fn start_with(folder: &Path, ldif: &str) -> Self {
        Self::make(folder, ldif, true).await
    }

    async fn make(folder: &Path, ldif: &str, tls: bool) -> Self {
        let folder = folder.join("slapd");
        fs::create_dir_all(folder.join("db")).expect("a folder for slapd");
        fs::write(folder.join("adlike.schema"), include_str!("slapd/adlike.schema")).expect("write the schema");
        let authority = tls.then(|| Authority::new(AUTHORITY));
        let lines = authority.as_ref().map(|authority| {
            let Pair { certificate, key } = authority.issue(&folder, "slapd", &["127.0.0.1", "ldap.corp.test"]);
            format!("TLSCertificateFile {}\nTLSCertificateKeyFile {}", certificate.display(), key.display())
        });
        let configuration = include_str!("slapd/slapd.conf").replace("FOLDER", &folder.display().to_string());
        fs::write(folder.join("slapd.conf"), configuration.replace("\nTLS\n", &format!("\n{}\n", lines.unwrap_or_default())))
            .expect("write slapd.conf");

        let accounts = ACCOUNTS
            .map(|name| format!("dn: cn={name},{SUFFIX}\nobjectClass: person\ncn: {name}\nsn: {name}\nuserPassword: {PASSWORD}\n\n"));
        let whole = format!("dn: {SUFFIX}\nobjectClass: domain\ndc: corp\n\n{}{ldif}", accounts.concat());
        let conf = folder.join("slapd.conf").display().to_string();
        run("/usr/sbin/slapadd", &["-q", "-f", &conf, "-b", SUFFIX], &whole);

        let mut slapd = Self { folder, ldap: 0, ldaps: 0, authority, server: Mutex::new(None) };
        let mut attempts = 0;
        loop {
            [slapd.ldap, slapd.ldaps] = free_ports();
            attempts += 1;
            match slapd.launch().await {
                Ok(()) => return slapd,
                // Another process may have taken a port meanwhile.
                Err(message) => assert!(attempts < 3, "{message}"),
            }
        }
    }

    /// Starts the server after `kill`, on the same data and ports.
    pub async fn start_again(&self) {
        self.launch().await.unwrap_or_else(|message| panic!("{message}"));
    }

    async fn launch(&self) -> Result<(), String> {
        let urls = match self.authority {
            Some(_) => format!("ldap://127.0.0.1:{} ldaps://127.0.0.1:{} {}", self.ldap, self.ldaps, self.socket_url()),
            None => format!("ldap://127.0.0.1:{} {}", self.ldap, self.socket_url()),
        };
        let conf = self.folder.join("slapd.conf").display().to_string();
        let mut server = Server::start(Start {
            name: "slapd",
            program: Path::new("/usr/sbin/slapd"),
            arguments: ["-f", &conf, "-h", &urls, "-d", "none"].map(str::to_owned).to_vec(),
            environment: Vec::new(),
            log_folder: &self.folder,
            death_signal: "KILL",
            user: None,
        });
        let socket = self.socket();
        let ready = async |_: &Server| UnixStream::connect(&socket).await.is_ok();
        server.ready(START, ready).await?;
        *self.server.lock().await = Some(server);
        Ok(())
    }

    /// SIGKILL: every connection breaks.
    pub async fn kill(&self) {
        if let Some(mut server) = self.server.lock().await.take() {
            server.kill();
        }
    }

    /// It answers nobody, and forgets nothing, until it is thawed.
    pub async fn freeze(&self) {
        self.signal("STOP").await;
    }

    pub async fn thaw(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, signal: &str) {
        if let Some(server) = self.server.lock().await.as_ref() {
            server.signal(signal);
        }
    }

    /// Ends it in order and starts it again: it forgets what was deleted before.
    pub async fn restart(&self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Keeps a copy of all that it has; it is restarted for it.
    pub async fn back_up(&self) {
        self.stop().await;
        self.copy("db", "copy");
        self.start_again().await;
    }

    /// Has again what it had when it was backed up, as if nothing had happened since.
    pub async fn restore(&self) {
        self.stop().await;
        self.copy("copy", "db");
        self.start_again().await;
    }

    async fn stop(&self) {
        let server = self.server.lock().await.take();
        if let Some(mut server) = server {
            server.signal("TERM");
            server.wait(START).await;
        }
    }

    fn copy(&self, from: &str, to: &str) {
        let [from, to] = [from, to].map(|name| self.folder.join(name));
        fs::create_dir_all(&to).expect("a folder");
        for file in fs::read_dir(from).expect("the database") {
            let file = file.expect("a file");
            fs::copy(file.path(), to.join(file.file_name())).expect("copy a file");
        }
    }

    /// The port of ldap://127.0.0.1.
    pub fn ldap(&self) -> u16 {
        self.ldap
    }

    /// The port of ldaps://127.0.0.1.
    pub fn ldaps(&self) -> u16 {
        self.ldaps
    }

    /// Where it listens too, for a proxy in between.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("ldapi")
    }

    /// The certificate of the authority that the server's comes from.
    pub fn ca(&self) -> String {
        self.authority.as_ref().expect("TLS").pem()
    }

    /// Adds entries as the administrator: LDIF.
    pub fn add(&self, ldif: &str) {
        self.tool("ldapadd", ldif);
    }

    /// Changes, moves and deletes entries as the administrator: LDIF with `changetype`.
    pub fn modify(&self, ldif: &str) {
        self.tool("ldapmodify", ldif);
    }

    /// A new `ou` below the suffix that is the test's alone; gives its DN.
    pub fn fresh_base(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let base = format!("ou={name},{SUFFIX}");
        self.add(&format!("dn: {base}\nobjectClass: organizationalUnit\nou: {name}\n"));
        base
    }

    fn tool(&self, program: &str, ldif: &str) {
        // -MM: references are entries like others here.
        run(program, &["-x", "-MM", "-H", &self.socket_url(), "-D", ADMINISTRATOR, "-w", ADMINISTRATOR_PASSWORD], ldif);
    }

    fn socket_url(&self) -> String {
        format!("ldapi://{}", self.socket().display().to_string().replace('/', "%2F"))
    }
}

/// Runs a program to its end; ldap-utils among them trust every certificate.
pub fn run(program: &str, arguments: &[&str], input: &str) {
    let mut command = Command::new(program);
    command.env("LDAPTLS_REQCERT", "never").args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program} (tests/tools/install): {error}"));
    // It may end before it has read all: its own words say more than a broken pipe.
    let _written = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("wait for a program");
    assert!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr));
}
