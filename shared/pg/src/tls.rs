//! TLS to the server by rustls: which authorities are trusted, and what is verified. Which mode is wanted, `settings`
//! says.

use std::path::Path;
use std::sync::Arc;

use ::fault::Fault;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::settings::{Protection, Versions};
use crate::{Error, TlsMode};

/// What the driver makes TLS connections with. Without TLS it is not used.
pub(crate) fn connector(protection: &Protection) -> Result<MakeRustlsConnect, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions: &[_] = match protection.versions {
        Versions::Any => &[&TLS12, &TLS13],
        Versions::Only12 => &[&TLS12],
        Versions::Only13 => &[&TLS13],
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| Error::found(Fault::Setup, format!("cannot set up TLS: {error}")))?;
    let mode = protection.mode;
    let builder = match mode {
        TlsMode::VerifyCa | TlsMode::VerifyFull => {
            let any_name = mode == TlsMode::VerifyCa;
            let known = KnownServer::new(protection.root_cert.as_deref(), any_name, provider)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(known))
        }
        TlsMode::Off | TlsMode::Prefer | TlsMode::Encrypt => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        }
    };
    let mut config = builder.with_no_client_auth();
    config.enable_sni = protection.sni;
    if protection.direct {
        // The server takes a direct handshake only for its own protocol.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(MakeRustlsConnect::new(config))
}

/// Verifies as the web does, by the authorities of the file, or by the system's where there is no file, and takes a
/// server's own certificate from the file: a self-signed one is its own authority to `openssl`, but not to rustls.
#[derive(Debug)]
struct KnownServer {
    authorities: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
    /// The certificate may be for another name than the one that was asked for.
    any_name: bool,
}

impl KnownServer {
    fn new(file: Option<&Path>, any_name: bool, provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        let own = file.map_or(Ok(Vec::new()), read)?;
        let mut roots = RootCertStore::empty();
        // An old one that rustls cannot read must not stand in the way of the others.
        roots.add_parsable_certificates(match file {
            Some(_) => own.clone(),
            None => rustls_native_certs::load_native_certs().certs,
        });
        if roots.is_empty() {
            return Err(match file {
                Some(path) => unreadable(path, "none of them can be used"),
                None => Error::found(Fault::Setup, "cannot verify the server: this system has no root certificates")
                    .with_hint("install `ca-certificates`, or name the server's authority with DB_SSL_ROOT_CERT"),
            });
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let authorities =
            authorities.map_err(|error| Error::found(Fault::Setup, format!("cannot set up TLS: {error}")))?;
        Ok(Self { authorities, own, any_name })
    }
}

/// The certificates in a PEM file.
fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = certificates.map_err(|error| unreadable(path, &error.to_string()))?;
    if certificates.is_empty() { Err(unreadable(path, "there is none in it")) } else { Ok(certificates) }
}

fn unreadable(path: &Path, cause: &str) -> Error {
    Error::found(Fault::Setup, format!("cannot read the certificates in `{}`: {cause}", path.display()))
        .with_hint("DB_SSL_ROOT_CERT (or PGSSLROOTCERT) names a file of certificates in PEM")
}

impl ServerCertVerifier for KnownServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let verified = match verified {
            // No word against the certificate itself, only that nobody vouches for it.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_) | CertificateError::UnknownIssuer))
                if self.own.iter().any(|own| own == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)
                    .map(|()| ServerCertVerified::assertion())
            }
            verified => verified,
        };
        match verified {
            // The name is looked at last, when all else holds.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Encrypts to whoever answers; only that the other side holds the key of its certificate is checked.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
