//! `edgebus serve`: opens the store, listens, and stops without losing anything.
//!
//! Invariants: when it says that it listens, it does. If one part cannot start, none stays. What
//! was accepted is answered and sealed before a clean exit; a second signal does not wait for that,
//! which loses nothing that was acknowledged.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use edgebus::clock::SystemClock;
use edgebus::files::RealFiles;
use edgebus::{BusState, Code, MessageBus, Refusal, RequestStore, Server};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::args::ServeOptions;
use crate::config::{self, Config, Problems, Settings, Value, command};
use crate::error::{CliError, INTERRUPTED, USAGE};
use crate::hangup;
use crate::http::{self, Health};
use crate::output;
use crate::runtime;
use crate::service::{self, State};

/// How long connections may take to end once the server stops.
const STOP_TIME: Duration = Duration::from_secs(10);

/// `edgebus serve …`.
pub(crate) fn run(options: ServeOptions, json: bool) -> Result<(), CliError> {
    let file = config::file_named(options.config.as_deref());
    let chosen = chosen(&options);
    let sources = config::sources(chosen.clone());
    let config = Config::load(file.as_deref(), sources).map_err(CliError::config)?;
    if options.check_config {
        return command::check(&config, json);
    }
    let mut problems = Problems::default();
    problems.extend(config.contradictions());
    // Before anything is opened; what is odd about them the server says itself, again and again.
    problems.extend(config.files().0);
    if !problems.is_empty() {
        problems.extend(config.open_to_others());
        problems.warn(config.warnings.iter().cloned());
        return Err(CliError::config(problems));
    }
    start_logging(&config.settings.log)?;
    for warning in config.warnings.iter().chain(&config.without_effect()) {
        tracing::warn!("{warning}");
    }
    let runtime =
        runtime::for_serving().map_err(|e| CliError::io("start", Path::new("the runtime"), e))?;
    let served = runtime.block_on(serve(config, chosen, json));
    // A connection that would not end does not keep the process.
    runtime.shutdown_background();
    served
}

/// The keys that options set.
fn chosen(options: &ServeOptions) -> Vec<(&'static str, Value)> {
    let retention = &options.retention;
    let listen = options.listen.iter().map(ToString::to_string).collect();
    let http = options.http.map(|address| address.to_string());
    [
        ("data", options.data.clone().map(Value::Path)),
        (
            "listen",
            (!options.listen.is_empty()).then_some(Value::Texts(listen)),
        ),
        ("http", http.map(Value::Text)),
        ("insecure", options.insecure.then_some(Value::Flag(true))),
        ("store.retention_age", retention.age.map(Value::Duration)),
        ("store.retention_bytes", retention.bytes.map(Value::Number)),
        ("store.retention_count", retention.count.map(Value::Number)),
        (
            "store.dedupe_horizon",
            retention.dedupe_horizon.map(Value::Duration),
        ),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key, value?)))
    .collect()
}

fn start_logging(filter: &str) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        let message = format!("log = {filter:?} is no filter ({error})");
        CliError::with_status(Refusal::new(Code::BadConfig, message), USAGE)
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

async fn serve(
    config: Config,
    chosen: Vec<(&'static str, Value)>,
    json: bool,
) -> Result<(), CliError> {
    let settings = config.settings.clone();
    let server = settings.server_config();
    // Before anything is opened, so that a signal meanwhile is not the end of it.
    let stopping = watch_signals()?;
    let hangups = hangup::watch()?;
    let http = match settings.http {
        Some(address) => Some(http::bind(address, settings.server.insecure).await?),
        None => None,
    };
    let files = Arc::new(RealFiles);
    let clock = Arc::new(SystemClock::default());
    let Settings { data, store, .. } = settings;
    let store = RequestStore::open_with(&data, store, files, clock)?;
    if let Some(torn) = store.torn_tail() {
        tracing::warn!("{}", output::torn_tail(torn));
    }
    let bus = MessageBus::start(store)?;
    let server = match Server::bind(bus.clone(), server).await {
        Ok(server) => server,
        Err(error) => {
            bus.shutdown().await;
            return Err(error.into());
        }
    };
    announce(&data, &server, http.as_ref(), json);
    service::tell(State::Ready);
    tracing::info!(data = %data.display(), last_seq = bus.stats().last_seq, "running");
    if let Some(listener) = http {
        let health = Health {
            bus: bus.state(),
            stopping: stopping.clone(),
            store: bus.reader(),
            server: server.handle(),
        };
        tokio::spawn(http::serve(listener, health));
    }
    tokio::spawn(hangup::serve(hangups, server.handle(), config, chosen));
    let stop = Stop {
        bus: bus.clone(),
        stopping,
    };
    let ended = async {
        stop.clone().wait().await;
        tokio::time::sleep(STOP_TIME).await;
    };
    tokio::select! {
        () = server.run(stop.clone().wait()) => {}
        () = ended => tracing::warn!("some connections would not end and were cut"),
    }
    match bus.shutdown().await {
        BusState::Poisoned(reason) => {
            let message = format!(
                "the store stopped after an I/O error ({reason}): mend the cause and start again; all that \
                 was acknowledged is kept"
            );
            Err(Refusal::new(Code::Poisoned, message).into())
        }
        _ => {
            let stats = bus.stats();
            if stats.sealed_lsn < stats.synced_lsn {
                tracing::warn!("stopped; what was not sealed for want of room is in the journal");
            } else {
                tracing::info!("stopped; everything is sealed");
            }
            Ok(())
        }
    }
}

/// Becomes true with the first signal; the second ends the process at once.
fn watch_signals() -> Result<watch::Receiver<bool>, CliError> {
    let on = |kind| signal(kind).map_err(|e| CliError::io("watch", Path::new("signals"), e));
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let (sender, stopping) = watch::channel(false);
    tokio::spawn(async move {
        next(&mut interrupt, &mut terminate).await;
        service::tell(State::Stopping);
        tracing::info!("stopping; a second signal ends the process at once");
        sender.send_replace(true);
        next(&mut interrupt, &mut terminate).await;
        std::process::exit(i32::from(INTERRUPTED));
    });
    Ok(stopping)
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Why the server is to stop: a signal, or a store that has stopped.
#[derive(Clone)]
struct Stop {
    bus: MessageBus,
    stopping: watch::Receiver<bool>,
}

impl Stop {
    async fn wait(mut self) {
        let mut state = self.bus.state();
        // An error would mean that the other end is gone, which ends the waiting as well.
        tokio::select! {
            _ = self.stopping.wait_for(|stopping| *stopping) => {}
            _ = state.wait_for(|state| *state != BusState::Running) => {}
        }
    }
}

/// What a script waits for.
#[derive(Serialize)]
struct Ready {
    listening: Vec<String>,
    http: Option<String>,
    data: String,
}

fn announce(data: &Path, server: &Server, http: Option<&TcpListener>, json: bool) {
    let http = http.and_then(|listener| listener.local_addr().ok());
    let ready = Ready {
        listening: server.urls().iter().map(ToString::to_string).collect(),
        http: http.map(|address| format!("http://{address}")),
        data: data.display().to_string(),
    };
    let printed = match json {
        true => output::line(&ready),
        false => {
            let lines: Vec<String> = ready
                .listening
                .iter()
                .chain(&ready.http)
                .map(|url| {
                    let version = env!("CARGO_PKG_VERSION");
                    format!(
                        "edgebus {version} listening on {url}, data in {}",
                        ready.data
                    )
                })
                .collect();
            output::text(&lines.join("\n"))
        }
    };
    if printed.is_err() {
        // Nobody waits for it, and the server runs all the same.
        tracing::debug!("stdout cannot be written");
    }
}
