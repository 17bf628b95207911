//! Which certificates are trusted, and what is wrong with one that is not (SPEC 8: there is no way back to clear text).

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};

use super::redaction::Redaction;

/// What every connection of a read is made with. The error is a sentence for people.
pub(super) fn config(ca: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| format!("the CA certificate can't be read: {error}"))?;
                roots.add(certificate).map_err(|error| format!("the CA certificate can't be used: {error}"))?;
            }
            if roots.is_empty() {
                return Err("the Secret that tls.caSecretRef names has no certificate in PEM".to_owned());
            }
        }
        None => {
            // One that can't be read is no reason to do without the others.
            let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this machine has no certificates of authorities; give one by tls.caSecretRef".to_owned());
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// What failed, in words; `name` is what the certificate had to bear.
pub(super) fn explain(error: &Error, name: &str, redaction: &Redaction) -> String {
    use CertificateError as C;
    let said = redaction.text(&error.to_string());
    let why = match error {
        Error::InvalidCertificate(certificate) => match certificate {
            C::UnknownIssuer => "its certificate comes from an authority that is not trusted here; give that by tls.caSecretRef".to_owned(),
            C::NotValidForName | C::NotValidForNameContext { .. } => {
                format!("its certificate does not bear the name {name}; set tls.serverName if another is right")
            }
            C::Expired | C::ExpiredContext { .. } => "its certificate has expired".to_owned(),
            C::NotValidYet | C::NotValidYetContext { .. } => "its certificate is not valid yet".to_owned(),
            C::Revoked => "its certificate is revoked".to_owned(),
            C::BadSignature => {
                "its certificate comes from an authority of the same name with another key than the one that is trusted here".to_owned()
            }
            _ => "its certificate is refused".to_owned(),
        },
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => "it does not speak TLS there".to_owned(),
        Error::PeerIncompatible(_) => "it offers no TLS that is safe (1.2 or 1.3)".to_owned(),
        _ => "the TLS handshake failed".to_owned(),
    };
    format!("{why} ({said})")
}
