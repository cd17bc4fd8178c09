//! `serve`: the API and the sync, from start to an orderly end.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::output::line;
use super::{Failure, Outcome, open};
use crate::api::{self, App};
use crate::config::Config;
use crate::secrets::password;
use crate::secrets::token::TokenKey;
use crate::server;
use crate::store::users::{self, NewUser, Secret};
use crate::store::{Actor, Store};
use crate::sync::worker;
use crate::tls::{Identity, TlsListener};

/// How long the answer to a change waits for the sync.
const SYNC_WAIT: Duration = Duration::from_secs(2);
/// How long an end waits for requests and syncs that are under way.
const GRACE: Duration = Duration::from_secs(20);

/// Runs until SIGTERM or SIGINT.
pub async fn serve(config: Config) -> Outcome {
    let (store, keys) = open(&config).await?;
    first_administrator(&store, &config).await?;
    if let Err(problem) = store.decisions.load().await {
        tracing::warn!(%problem, "everything else works");
    }
    let app = Arc::new(App::new(
        store.clone(),
        TokenKey::new(&keys.signing),
        config.token_lifetime,
        SYNC_WAIT,
        config.trusted_proxies.clone(),
    ));
    let identity = config.tls.clone().map(Identity::load).transpose()?;
    let socket = TcpListener::bind(config.bind_addr)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", config.bind_addr))?;
    // The port may have been 0.
    let address = socket.local_addr()?;
    tracing::info!(%address, tls = identity.is_some(), "listening");
    if config.is_open_without_tls() {
        tracing::warn!(
            "passwords and tokens pass the network in the clear: set tls_cert and tls_key, or trusted_proxies"
        );
    }
    let (stop, stopped) = watch::channel(false);
    let jobs = app.clone();
    let worker = tokio::spawn(worker::run(store, config.sync_interval, stopped.clone()));
    let router = api::router(app, &config.origins);
    let server = tokio::spawn(answer(socket, identity.clone(), router, stopped.clone()));

    let [mut terminate, mut interrupt, mut hangup] = [
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    ];
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => read_again(identity.as_ref()),
        }
    }
    tracing::info!("stopping");
    stop.send(true)?;
    let end = async {
        jobs.discovery.stop().await;
        server.await??;
        worker.await?;
        Ok::<_, Failure>(())
    };
    match tokio::time::timeout(GRACE, end).await {
        Ok(ended) => ended?,
        Err(_) => tracing::warn!("requests or syncs under way were cut off; syncs are repeated at the next start"),
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Answers requests, by TLS if there is a certificate.
async fn answer(
    socket: TcpListener,
    identity: Option<Identity>,
    router: Router,
    stopped: watch::Receiver<bool>,
) -> std::io::Result<()> {
    match identity {
        Some(identity) => server::serve(TlsListener::new(socket, identity)?, router, stopped).await,
        None => server::serve(socket, router, stopped).await,
    }
    Ok(())
}

/// SIGHUP: the certificate may have been renewed.
fn read_again(identity: Option<&Identity>) {
    match identity.map(Identity::reload) {
        Some(Ok(())) => tracing::info!("read the certificate again"),
        Some(Err(error)) => tracing::error!(error, "the certificate cannot be used, the one before it stays"),
        None => {}
    }
}

/// Creates the first administrator in an empty store. A password that nobody gave is printed, this once.
async fn first_administrator(store: &Store, config: &Config) -> Result<(), Failure> {
    if users::exist(&mut *store.read().await?).await? {
        return Ok(());
    }
    let (password, generated) = match &config.admin_password {
        Some(password) => (password.clone(), false),
        None => (password::generate(), true),
    };
    let secret = Secret::of(password.clone()).await;
    let secret = secret.map_err(|error| format!("BR_ADMIN_PASSWORD: {error}"))?;
    let mut change = store.change(Actor::command_line()).await?;
    // Another daemon may have been faster.
    if users::exist(&mut change.tx).await? {
        return Ok(());
    }
    let new = NewUser {
        username: config.admin_user.clone(),
        is_admin: true,
        is_active: true,
        ..NewUser::default()
    };
    let created = users::create(&mut change, &new, Some(&secret)).await;
    created.map_err(|error| format!("BR_ADMIN_USER: {error}"))?;
    change.commit().await?;
    if generated {
        line(format!(
            "created the administrator \"{}\" with the password {password}",
            new.username
        ))?;
    }
    Ok(())
}
