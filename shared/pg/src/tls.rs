//! TLS to the server by rustls: which authorities are trusted, and what is verified. Which mode is wanted, `settings`
//! says.

use std::path::Path;
use std::sync::Arc;

use ::fault::Fault;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{Error, TlsMode};

/// What the driver makes TLS connections with. Without TLS it is not used.
pub(crate) fn connector(mode: TlsMode, root_cert: Option<&Path>) -> Result<MakeRustlsConnect, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::found(Fault::Setup, format!("cannot set up TLS: {error}")))?;
    let config = match mode {
        TlsMode::Verify => builder.with_root_certificates(roots(root_cert)?),
        TlsMode::Off | TlsMode::Prefer | TlsMode::Encrypt => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        }
    };
    Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
}

/// The system's authorities and those of the file.
fn roots(file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = file {
        let problem = |cause: String| {
            Error::found(Fault::Setup, format!("cannot read the certificates in `{}`: {cause}", path.display()))
        };
        let mut found = 0;
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| problem(error.to_string()))? {
            let certificate = certificate.map_err(|error| problem(error.to_string()))?;
            roots.add(certificate).map_err(|error| problem(error.to_string()))?;
            found += 1;
        }
        if found == 0 {
            return Err(problem("there is none in it".to_owned()));
        }
    }
    if roots.is_empty() {
        return Err(Error::found(Fault::Setup, "cannot verify the server: this system has no root certificates")
            .with_hint("install `ca-certificates`, or name the server's authority with DB_SSL_ROOT_CERT"));
    }
    Ok(roots)
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
