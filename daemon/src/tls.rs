//! TLS for the API, for set-ups without a proxy in front of it.
//!
//! Handshakes run beside each other and end after a while, so that a client that says nothing keeps no other one waiting.
//! The certificate is read again on demand; one that cannot be used leaves the one before it in place.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// Longest handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Most handshakes at a time; further connections wait in the kernel.
const HANDSHAKES: usize = 256;

/// The files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and those between it and the authority (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
}

/// The certificate in use.
#[derive(Clone)]
pub struct Identity {
    files: Files,
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Identity {
    /// From files.
    pub fn load(files: Files) -> Result<Identity, String> {
        let config = Arc::new(RwLock::new(read(&files)?));
        Ok(Identity { files, config })
    }

    /// Reads the files again, for connections to come.
    pub fn reload(&self) -> Result<(), String> {
        let config = read(&self.files)?;
        *self.config.write().expect("no holder panics") = config;
        Ok(())
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.read().expect("no holder panics").clone())
    }
}

fn read(Files { certificate, key }: &Files) -> Result<Arc<ServerConfig>, String> {
    let named = |path: &Path, error: String| format!("{}: {error}", path.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| named(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(named(certificate, "there is no certificate in it".to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| named(key, error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| named(certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Connections whose handshake is done.
pub struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    accepting: JoinHandle<()>,
}

impl TlsListener {
    /// On a socket.
    pub fn new(mut socket: TcpListener, identity: Identity) -> io::Result<TlsListener> {
        let address = socket.local_addr()?;
        let (done, ready) = mpsc::channel(1);
        let accepting = tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(HANDSHAKES));
            while let Ok(place) = places.clone().acquire_owned().await {
                let (stream, client) = Listener::accept(&mut socket).await;
                let (acceptor, done) = (identity.acceptor(), done.clone());
                tokio::spawn(async move {
                    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        // Nobody is there to take it when the daemon stops.
                        Ok(Ok(stream)) => drop(done.send((stream, client)).await),
                        Ok(Err(error)) => tracing::debug!(%client, %error, "no TLS handshake"),
                        Err(_) => tracing::debug!(%client, "no TLS handshake in time"),
                    }
                    drop(place);
                });
            }
        });
        Ok(TlsListener {
            address,
            ready,
            accepting,
        })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The task that accepts ended, which it never does by itself.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
