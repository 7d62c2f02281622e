//! TLS, and whom it trusts: the system's certificates, those of the command line, and for one host those of its
//! directory in certs.d.

use crate::trust::{Trust, trust};
use crate::wire::Wire;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::error::Doing;
use store::{Error, Result};

/// What TLS to each host is to be.
pub struct Tls {
    provider: Arc<CryptoProvider>,
    /// Whom every host's certificate may be vouched for by.
    roots: RootCertStore,
    /// By host and port; empty: any host that nothing is said of. Kept, so that sessions can be resumed.
    configs: Mutex<BTreeMap<String, Arc<ClientConfig>>>,
}

impl Tls {
    /// Trusts the certificates in `cacert` (PEM) besides the system's, for which SSL_CERT_FILE and SSL_CERT_DIR are read
    /// where they are set. They are read here, for they may be anywhere, and this program is confined later.
    pub fn new(cacert: Option<&Path>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(cacert.map(certificates).transpose()?.unwrap_or_default());
        Ok(Self { provider: Arc::new(aws_lc_rs::default_provider()), roots, configs: Mutex::default() })
    }

    /// How TLS with `authority` is to be spoken; `insecure`: with whoever answers.
    pub fn config(&self, authority: &str, insecure: bool) -> Result<Arc<ClientConfig>> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(authority) {
            return Ok(config.clone());
        }
        let trust = trust(authority)?;
        let own = insecure || !trust.roots.is_empty() || trust.client.is_some();
        let key = if own { authority } else { "" };
        if let Some(config) = configs.get(key) {
            return Ok(config.clone());
        }
        let config = Arc::new(self.build(authority, &trust, insecure)?);
        configs.insert(key.to_owned(), config.clone());
        Ok(config)
    }

    fn build(&self, authority: &str, trust: &Trust, insecure: bool) -> Result<ClientConfig> {
        let failed = |error: rustls::Error| Error::Failed(format!("cannot begin TLS with {authority}: {error}"));
        let builder = ClientConfig::builder_with_provider(self.provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(failed)?;
        let builder = if insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(self.provider.clone())))
        } else {
            let mut roots = self.roots.clone();
            for path in &trust.roots {
                roots.add_parsable_certificates(certificates(path)?);
            }
            if roots.is_empty() {
                let hint = "hint: install the package ca-certificates, or set SSL_CERT_FILE, or give --cacert FILE";
                let reason = "no certificates to trust were found on this system";
                return Err(Error::Failed(format!("cannot begin TLS with {authority}: {reason}\n{hint}")));
            }
            builder.with_root_certificates(roots)
        };
        match &trust.client {
            None => Ok(builder.with_no_client_auth()),
            Some((certificate, key)) => {
                let unreadable = |error| Error::Failed(format!("reading {}: {error}", key.display()));
                let secret = PrivateKeyDer::from_pem_file(key).map_err(unreadable)?;
                builder.with_client_auth_cert(certificates(certificate)?, secret).map_err(failed)
            }
        }
    }
}

/// The certificates in a PEM file, one at least.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = std::fs::read(path).doing(|| format!("opening {}", path.display()))?;
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let refuse = |reason: &str| Error::Failed(format!("{} has no usable certificates: {reason}", path.display()));
    let found = found.map_err(|error| refuse(&error.to_string()))?;
    if found.is_empty() { Err(refuse("none in PEM")) } else { Ok(found) }
}

/// Speaks TLS over `wire`, once both sides have agreed.
pub fn wrap(mut wire: Box<dyn Wire>, config: Arc<ClientConfig>, host: &str) -> io::Result<Box<dyn Wire>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut wire)?;
    }
    Ok(Box::new(StreamOwned::new(connection, wire)))
}

impl Wire for StreamOwned<ClientConnection, Box<dyn Wire>> {
    fn steady(&mut self, silence: Duration) -> io::Result<()> {
        self.sock.steady(silence)
    }
}

/// Takes every certificate, for a host of which the user has said so; whoever has it must hold its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
