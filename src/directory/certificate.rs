//! Whose certificate a server has shown, for people: it was checked when the connection was made, by other means.

use jiff::Timestamp;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::redaction::Redaction;

/// Names that are told at the most.
const MOST_NAMES: usize = 5;

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The names and addresses that it bears, the first few; where it bears none its subject.
    pub names: String,
    /// The authority that it comes from: a distinguished name (RFC 4514).
    pub issuer: String,
    /// The last moment at which it is good.
    pub good_until: Timestamp,
}

impl Certificate {
    /// None: it can't be read, although it was found good.
    pub(super) fn read(der: &[u8], redaction: &Redaction) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let bears = certificate.subject_alternative_name().ok().flatten();
        let names = bears.iter().flat_map(|bears| &bears.value.general_names).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        });
        let names = names.take(MOST_NAMES).collect::<Vec<_>>().join(", ");
        let names = if names.is_empty() { certificate.subject().to_string() } else { names };
        Some(Self {
            names: redaction.text(&names),
            issuer: redaction.text(&certificate.issuer().to_string()),
            good_until: Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?,
        })
    }
}

/// RFC 5280 4.2.1.6: four bytes or sixteen.
fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::Ipv4Addr::from(bytes).to_string());
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| std::net::Ipv6Addr::from(bytes).to_string())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    fn read(names: &[&str]) -> Option<Certificate> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2030, 1, 2);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "corp authority");
        let certificate = parameters.self_signed(&key).unwrap();
        Certificate::read(certificate.der(), &Redaction::new(&Secret::new(b"geheim".to_vec())))
    }

    #[test]
    fn y9_a_certificate_is_told_by_its_names_its_authority_and_its_end() {
        let certificate = read(&["dc1.corp.example", "192.0.2.1", "2001:db8::1"]).unwrap();
        assert_eq!(certificate.names, "dc1.corp.example, 192.0.2.1, 2001:db8::1");
        assert!(certificate.issuer.contains("CN=corp authority"), "{certificate:?}");
        assert_eq!(certificate.good_until.to_string(), "2030-01-02T00:00:00Z");
        assert!(read(&[]).unwrap().names.contains("corp authority"));
        assert!(!read(&["geheim.example"]).unwrap().names.contains("geheim"));
    }
}
