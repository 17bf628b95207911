//! A Samba domain controller: the domain corp.test, over ldaps:// alone. Its ports are fixed, so it has a loopback address of its own, and only
//! root can start it.
//!
//! One serves all tests of a process, each below an `ou` of its own; whoever stops it starts one of its own.

use super::certificates::Authority;
use super::process::{Server, Start};
use super::slapd::run;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

const START: Duration = Duration::from_mins(1);
/// The name of the authority that signs its certificate.
const AUTHORITY: &str = "domain test authority";
pub const SUFFIX: &str = "DC=corp,DC=test";
pub const PASSWORD: &str = "Pl4nted-d1rectory-password";
pub const ADMINISTRATOR_PASSWORD: &str = "Passw0rd!x";

pub struct Samba {
    folder: PathBuf,
    address: String,
    authority: Authority,
    server: Mutex<Option<Server>>,
}

impl Samba {
    /// Makes the domain in `folder`/samba and starts its controller, with an ordinary user `sync`. The forest has a second domain below it, whose
    /// controllers are elsewhere.
    pub async fn start(folder: &Path) -> Self {
        let samba = Self::provisioned(folder.join("samba"), 0);
        let database = samba.folder.join("private/sam.ldb").display().to_string();
        run("ldbadd", &["-H", &database, "--controls=relax:0"], &child_domain());
        samba.launch().await;
        samba.add(&exchange_classes());
        samba.modify("dn:\nchangetype: modify\nadd: schemaUpdateNow\nschemaUpdateNow: 1\n");
        samba.add(&account(&format!("CN=sync,CN=Users,{SUFFIX}"), "sync", 512, ""));
        samba
    }

    /// Two controllers of a domain of the test's own, with these entries besides. Each has its own invocationId and its own update sequence
    /// numbers; what is changed on one the other never hears of, as one that is behind.
    pub async fn start_two(folder: &Path, ldif: &str) -> [Self; 2] {
        let first = Self::provisioned(folder.join("samba-1"), 1);
        first.launch().await;
        first.add(&account(&format!("CN=sync,CN=Users,{SUFFIX}"), "sync", 512, ""));
        first.add(ldif);
        first.stop().await;
        let second = Self {
            folder: folder.join("samba-2"),
            address: own_address(2),
            authority: Authority::new(AUTHORITY),
            server: Mutex::new(None),
        };
        let [from, to] = [&first.folder, &second.folder].map(|folder| folder.display().to_string());
        run("cp", &["-a", &from, &to], "");
        let settings = "CN=NTDS Settings,CN=DC1,CN=Servers,CN=Default-First-Site-Name,CN=Sites,CN=Configuration";
        let database = second.folder.join("private/sam.ldb.d/CN=CONFIGURATION,DC=CORP,DC=TEST.ldb").display().to_string();
        let another =
            format!("dn: {settings},{SUFFIX}\nchangetype: modify\nreplace: invocationId\ninvocationId:: AQIDBAUGBwgJCgsMDQ4PEA==\n");
        run("ldbmodify", &["-H", &database], &another);
        tokio::join!(first.launch(), second.launch());
        [first, second]
    }

    fn provisioned(folder: PathBuf, number: u32) -> Self {
        let address = own_address(number);
        provision(&folder, &address);
        Self { folder, address, authority: Authority::new(AUTHORITY), server: Mutex::new(None) }
    }

    async fn launch(&self) {
        let configuration = configure(&self.folder, &self.address, &self.authority);
        let mut server = Server::start(Start {
            name: "samba",
            program: Path::new("/usr/sbin/samba"),
            arguments: ["-F", "--no-process-group", "-M", "single", "-s"].map(str::to_owned).into_iter().chain([configuration]).collect(),
            environment: Vec::new(),
            log_folder: &self.folder,
            death_signal: "KILL",
            user: None,
        });
        let ready = async |_: &Server| TcpStream::connect((self.address.as_str(), 636)).await.is_ok();
        server.ready(START, ready).await.unwrap_or_else(|message| panic!("{message}"));
        *self.server.lock().await = Some(server);
    }

    /// Ends it in order.
    pub async fn stop(&self) {
        if let Some(mut server) = self.server.lock().await.take() {
            server.signal("TERM");
            server.wait(START).await;
        }
    }

    /// Starts it after `stop`, on the same data and address.
    pub async fn start_again(&self) {
        self.launch().await;
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// The certificate of the authority that the server's comes from.
    pub fn ca(&self) -> String {
        self.authority.pem()
    }

    /// Adds entries as the administrator: LDIF.
    pub fn add(&self, ldif: &str) {
        self.tool("ldapadd", ldif);
    }

    /// Changes, moves and deletes entries as the administrator: LDIF with `changetype`.
    pub fn modify(&self, ldif: &str) {
        self.tool("ldapmodify", ldif);
    }

    /// A new `OU` below the suffix that is the test's alone; gives its DN.
    pub fn fresh_base(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let base = format!("OU=t{},{SUFFIX}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.add(&format!("dn: {base}\nobjectClass: organizationalUnit\n"));
        base
    }

    fn tool(&self, program: &str, ldif: &str) {
        let url = format!("ldaps://{}", self.address);
        run(program, &["-x", "-H", &url, "-D", "administrator@corp.test", "-w", ADMINISTRATOR_PASSWORD], ldif);
    }
}

/// What a forest knows of the domain `child.corp.test`. Over LDAP nobody may say so: only a controller that joins.
fn child_domain() -> String {
    format!(
        "dn: CN=CHILD,CN=Partitions,CN=Configuration,{SUFFIX}\nobjectClass: top\nobjectClass: crossRef\nnCName: DC=child,{SUFFIX}\n\
         dnsRoot: child.corp.test\nnETBIOSName: CHILD\nsystemFlags: 3\n"
    )
}

/// Classes that a domain has with Exchange alone, as far as tests need them, under numbers that are for examples (RFC 5612).
fn exchange_classes() -> String {
    let class = |(number, common, name): (u32, &str, &str)| {
        let dn = format!("CN={common},CN=Schema,CN=Configuration,{SUFFIX}");
        format!(
            "dn: {dn}\nobjectClass: classSchema\nlDAPDisplayName: {name}\ngovernsID: 1.3.6.1.4.1.32473.{number}\nobjectClassCategory: 1\n\
             subClassOf: top\npossSuperiors: organizationalUnit\nmayContain: mail\nmayContain: proxyAddresses\nmayContain: displayName\n\
             rDNAttID: cn\ndefaultObjectCategory: {dn}\n\
             defaultSecurityDescriptor: D:(A;;RPWPCRCCDCLCLORCWOWDSDDTSW;;;DA)(A;;RPLCLORC;;;AU)\n\n"
        )
    };
    [(1, "ms-Exch-Public-Folder", "publicFolder"), (2, "ms-Exch-Dynamic-Distribution-List", "msExchDynamicDistributionList")]
        .map(class)
        .concat()
}

/// An entry of a user who can log on with [`PASSWORD`]; `control` is its userAccountControl.
pub fn account(dn: &str, name: &str, control: u32, lines: &str) -> String {
    use base64::Engine as _;
    let utf16: Vec<u8> = format!("\"{PASSWORD}\"").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let password = base64::engine::general_purpose::STANDARD.encode(utf16);
    format!("dn: {dn}\nobjectClass: user\nsAMAccountName: {name}\nunicodePwd:: {password}\nuserAccountControl: {control}\n{lines}\n\n")
}

/// 127.64.0.0/10 is big enough for no two processes of a machine to meet; a process has up to three of them.
fn own_address(number: u32) -> String {
    let id = std::process::id();
    let [more, third] = [64 * (number / 2), 128 * (number % 2)];
    format!("127.{}.{}.{}", 64 + more + (id >> 14) % 64, third + (id >> 7) % 128, 1 + id % 128)
}

fn provision(folder: &Path, address: &str) {
    fs::create_dir_all(folder).expect("a folder for samba");
    fs::write(folder.join("empty.conf"), "[global]\n").expect("write a file");
    let [configuration, target, ip, password] = [
        format!("--configfile={}", folder.join("empty.conf").display()),
        format!("--targetdir={}", folder.display()),
        format!("--host-ip={address}"),
        format!("--adminpass={ADMINISTRATOR_PASSWORD}"),
    ];
    let domain = ["--realm=CORP.TEST", "--domain=CORP", "--server-role=dc", "--host-name=dc1", "--dns-backend=NONE"];
    let place = [configuration.as_str(), &target, &ip, &password];
    run("samba-tool", &[&["domain", "provision"][..], &domain, &place].concat(), "");
}

/// Writes the server's configuration and certificate; gives the file's name.
fn configure(folder: &Path, address: &str, authority: &Authority) -> String {
    let place = |name: &str| {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).expect("a folder for samba");
        folder.display().to_string()
    };
    let pair = authority.issue(folder, "tls", &[address, "dc1.corp.test"]);
    // It refuses a key that others may read.
    fs::set_permissions(&pair.key, Permissions::from_mode(0o600)).expect("set permissions");
    let ca: PathBuf = folder.join("ca.crt");
    fs::write(&ca, authority.pem()).expect("write a certificate");
    let settings = [
        ("server role", "active directory domain controller".to_owned()),
        ("workgroup", "CORP".to_owned()),
        ("realm", "CORP.TEST".to_owned()),
        ("netbios name", "DC1".to_owned()),
        ("bind interfaces only", "yes".to_owned()),
        ("interfaces", format!("{address}/8")),
        ("server services", "ldap".to_owned()),
        ("dsdb:schema update allowed", "yes".to_owned()),
        ("tls enabled", "yes".to_owned()),
        ("tls keyfile", pair.key.display().to_string()),
        ("tls certfile", pair.certificate.display().to_string()),
        ("tls cafile", ca.display().to_string()),
        ("private dir", place("private")),
        ("state directory", place("state")),
        ("cache directory", place("cache")),
        ("lock directory", place("lock")),
        ("pid directory", place("pid")),
        ("ncalrpc dir", place("ncalrpc")),
        ("binddns dir", place("bind-dns")),
        ("ntp signd socket directory", place("ntp")),
        ("winbindd socket directory", place("winbindd")),
        ("log file", folder.join("log.samba").display().to_string()),
    ];
    let global: String = settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    let file = folder.join("smb.conf");
    fs::write(&file, format!("[global]\n{global}[sysvol]\npath = {}\n", place("state/sysvol"))).expect("write smb.conf");
    file.display().to_string()
}
