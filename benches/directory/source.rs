//! Servers with people of three addresses each, and the DirectoryConnection that reads them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::floor::{ATTRIBUTES, ldapsearch};
use crate::support::resources::API_VERSION;
use crate::support::{Samba, Slapd, samba, slapd};

/// Finds everybody; and half of them.
pub const ALL: &str = "(objectClass=user)";
pub const HALF: &str = "(&(objectClass=user)(department=half))";

pub enum Source {
    OpenLdap(Slapd),
    ActiveDirectory(Samba),
}

impl Source {
    /// An OpenLDAP server with so many people, loaded in bulk.
    pub async fn open_ldap(folder: &Path, people: usize) -> Self {
        let ou = format!("dn: ou=people,{}\nobjectClass: organizationalUnit\nou: people\n\n", slapd::SUFFIX);
        let person = |n| format!("dn: cn=u{n},ou=people,{}\ncn: u{n}\nsn: x\nuserAccountControl: 512\n{}", slapd::SUFFIX, about(n));
        Self::OpenLdap(Slapd::start_with(folder, &(ou + &(0..people).map(person).collect::<String>())).await)
    }

    /// A Samba domain controller, which takes its people one by one.
    pub async fn active_directory(folder: &Path, people: usize) -> Self {
        let samba = Samba::start(folder).await;
        let ou = format!("dn: OU=people,{}\nobjectClass: organizationalUnit\n\n", samba::SUFFIX);
        let person = |n| format!("dn: CN=u{n},OU=people,{}\nsAMAccountName: u{n}\n{}", samba::SUFFIX, about(n));
        samba.add(&(ou + &(0..people).map(person).collect::<String>()));
        Self::ActiveDirectory(samba)
    }

    fn url(&self) -> String {
        match self {
            Self::OpenLdap(slapd) => format!("ldap://127.0.0.1:{}", slapd.ldap()),
            Self::ActiveDirectory(samba) => format!("ldaps://{}", samba.address()),
        }
    }

    fn base(&self) -> String {
        match self {
            Self::OpenLdap(_) => format!("ou=people,{}", slapd::SUFFIX),
            Self::ActiveDirectory(_) => format!("OU=people,{}", samba::SUFFIX),
        }
    }

    /// Name and password of who reads: on the domain controller one who may see what was deleted.
    fn account(&self) -> [String; 2] {
        match self {
            Self::OpenLdap(_) => [format!("cn=sync,{}", slapd::SUFFIX), slapd::PASSWORD.to_owned()],
            Self::ActiveDirectory(_) => ["administrator@corp.test".to_owned(), samba::ADMINISTRATOR_PASSWORD.to_owned()],
        }
    }

    /// A Secret, and a connection that reads whom `filter` finds.
    pub fn connection(&self, filter: &str) -> String {
        let ([user, password], url, base) = (self.account(), self.url(), self.base());
        let (of, tls, ca) = match self {
            Self::OpenLdap(_) => ("OpenLDAP", "{mode: None}", String::new()),
            Self::ActiveDirectory(samba) => {
                ("ActiveDirectory", "{mode: LDAPS, caSecretRef: {name: corp-ldap, key: ca}}", samba.ca().replace('\n', "\n    "))
            }
        };
        format!(
            "---
apiVersion: v1
kind: Secret
metadata: {{name: corp-ldap, labels: {{mailroster.dev/readable: \"true\"}}}}
stringData:
  password: {password}
  ca: |
    {ca}
---
apiVersion: {API_VERSION}
kind: DirectoryConnection
metadata: {{name: corp}}
spec:
  type: {of}
  urls: ['{url}']
  tls: {tls}
  bind: {{dn: '{user}', passwordSecretRef: {{name: corp-ldap, key: password}}}}
  baseDN: '{base}'
  userFilter: '{filter}'
  groupFilter: '(objectClass=group)'
  attributes: {{aliases: proxyAddresses}}
  interval: 24h
  changeDetection: Full
"
        )
    }

    /// How long the bare search for these entries takes.
    pub fn search(&self, filter: &str) -> Duration {
        let [user, password] = self.account();
        ldapsearch(&self.url(), [&user, &password], &self.base(), filter, &ATTRIBUTES)
    }

    /// How long a domain controller takes to say that nothing has changed.
    pub fn search_changes(&self) -> Duration {
        let [user, password] = self.account();
        let told = Command::new("ldapsearch")
            .env("LDAPTLS_REQCERT", "never")
            .args(["-x", "-LLL", "-H", &self.url(), "-D", &user, "-w", &password, "-s", "base", "-b", "", "highestCommittedUSN"])
            .output()
            .expect("ldapsearch");
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let highest = told.lines().find_map(|line| line.strip_prefix("highestCommittedUSN: ")).expect("a number");
        self.search(&format!("(uSNChanged>={})", highest.parse::<u64>().expect("a number") + 1))
    }

    /// Gives the first so many people another alias each.
    pub fn change(&self, round: usize, people: usize) {
        let (base, is) = (self.base(), |n: usize| format!("c{round}-{n}@acme.example"));
        let change = |n| format!("dn: cn=u{n},{base}\nchangetype: modify\nadd: proxyAddresses\nproxyAddresses: smtp:{}\n\n", is(n));
        let all: String = (0..people).map(change).collect();
        match self {
            Self::OpenLdap(slapd) => slapd.modify(&all),
            Self::ActiveDirectory(samba) => samba.modify(&all),
        }
    }
}

/// What is the same of a person on every server.
fn about(n: usize) -> String {
    let department = if n.is_multiple_of(2) { "half" } else { "other" };
    let addresses: String = ["SMTP:u", "smtp:a", "smtp:b"].map(|name| format!("proxyAddresses: {name}{n}@acme.example\n")).concat();
    format!("objectClass: user\ndisplayName: User {n}\ndepartment: {department}\n{addresses}\n")
}
