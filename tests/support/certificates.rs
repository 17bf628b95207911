//! The certificates of one run: a CA, the API server's, an administrator's, and the key that signs service-account tokens. And authorities
//! of their own for other servers.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use std::fs;
use std::path::{Path, PathBuf};

/// Where they are, as PEM files.
pub struct Certificates {
    pub authority: PathBuf,
    pub server: Pair,
    pub administrator: Pair,
    /// The key that signs service-account tokens, and its public half: the API server reads no public key out of PKCS #8.
    pub service_account_key: PathBuf,
    pub service_account_public_key: PathBuf,
}

pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificates {
    pub fn write(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder for certificates");
        let Authority(authority) = Authority::new("mailroster test authority");

        let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1", "10.0.0.1"];
        let mut server = server(&names);
        server.distinguished_name = name("kube-apiserver", None);

        let mut administrator = CertificateParams::default();
        administrator.distinguished_name = name("administrator", Some("system:masters"));
        administrator.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];

        let service_accounts = new_key();
        let (service_account_key, service_account_public_key) = (folder.join("sa.key"), folder.join("sa.pub"));
        fs::write(&service_account_key, service_accounts.serialize_pem()).expect("write a key");
        fs::write(&service_account_public_key, service_accounts.public_key_pem()).expect("write a key");
        let file = folder.join("ca.crt");
        fs::write(&file, authority.as_ref().pem()).expect("write a certificate");
        Self {
            authority: file,
            server: issue(folder, "apiserver", &server, &authority),
            administrator: issue(folder, "admin", &administrator, &authority),
            service_account_key,
            service_account_public_key,
        }
    }
}

/// Who signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new(common: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = name(common, None);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        Self(CertifiedIssuer::self_signed(parameters, new_key()).expect("a certificate authority"))
    }

    pub fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// A server's certificate and key, as PEM files.
    pub fn issue(&self, folder: &Path, file: &str, names: &[&str]) -> Pair {
        issue(folder, file, &server(names), &self.0)
    }

    /// The same for one that has expired.
    pub fn issue_expired(&self, folder: &Path, file: &str, names: &[&str]) -> Pair {
        let mut parameters = server(names);
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
        issue(folder, file, &parameters, &self.0)
    }
}

fn server(names: &[&str]) -> CertificateParams {
    let mut parameters = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("names");
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters
}

fn issue(folder: &Path, file: &str, parameters: &CertificateParams, authority: &CertifiedIssuer<'_, KeyPair>) -> Pair {
    let key = new_key();
    let certificate = parameters.signed_by(&key, authority).expect("a certificate");
    let pair = Pair { certificate: folder.join(format!("{file}.crt")), key: folder.join(format!("{file}.key")) };
    fs::write(&pair.certificate, certificate.pem()).expect("write a certificate");
    fs::write(&pair.key, key.serialize_pem()).expect("write a key");
    pair
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("a key pair")
}

fn name(common: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name
}
