//! What is measured: edgebus embedded, over TCP and at another place, and the controls.

use std::path::Path;

use edgebus::delivery::Handler;
use edgebus::{
    Client, ClientConfig, Code, MessageBus, Refusal, Server, ServerConfig, ServerUrl, Stats,
};

use super::device::Device;
use super::load::{self, Load, Target};
use super::measurement::Measurement;
use super::{Options, What, controls, delivery};
use crate::args::Global;
use crate::error::CliError;
use crate::remote;

/// Something to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The bus in this process, without a socket.
    Embedded,
    /// A server in this process, over TCP on loopback.
    Tcp,
    /// The server that was named.
    Remote,
    /// One write and one fdatasync a group.
    Raw,
    /// Rows and ids in redb, one commit a group.
    RedbRows,
}

/// The subjects that are edgebus.
pub(super) fn all(_options: &Options, server: Option<&ServerUrl>) -> Vec<Subject> {
    match server {
        Some(_) => vec![Subject::Remote],
        None => vec![Subject::Embedded, Subject::Tcp],
    }
}

impl Subject {
    /// Its name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "edgebus-embedded",
            Self::Tcp => "edgebus-tcp",
            Self::Remote => "edgebus",
            Self::Raw => "raw",
            Self::RedbRows => "redb-rows",
        }
    }

    /// Measures it once, in a folder of its own.
    pub(super) fn measure(
        self,
        options: &Options,
        global: &Global,
        dir: &Path,
    ) -> Result<Measurement, CliError> {
        let parent = dir.parent().unwrap_or(dir);
        let device = Device::of(parent);
        // What others left to be written must not be counted here.
        rustix::fs::sync();
        let before = device.as_ref().and_then(Device::written);
        let (load, syncs) = match self {
            Self::Raw => controls::raw(options, dir)?,
            Self::RedbRows => controls::redb_rows(options, dir)?,
            _ => edgebus(self, options, global, dir)?,
        };
        rustix::fs::sync();
        let after = device.as_ref().and_then(Device::written);
        let device_bytes = before.zip(after).map(|(before, after)| after - before);
        // The folder is not needed any more; what cannot be removed goes with the parent.
        let _ = std::fs::remove_dir_all(dir);
        Ok(Measurement::new(load, syncs, device_bytes))
    }
}

fn edgebus(
    subject: Subject,
    options: &Options,
    global: &Global,
    dir: &Path,
) -> Result<(Load, u64), CliError> {
    // The sender has one thread, as `edgebus send` has; a server beside it has its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::io("start a runtime for", dir, e))?;
    let config = ClientConfig::default()
        .name("bench")
        .window(options.window as usize);
    match (subject, &global.server) {
        (Subject::Remote, Some(url)) => runtime.block_on(async {
            let config = remote::with_proof(config, &global.proof)?;
            let client = Client::connect_with(url, config).await?;
            let _answers = answering(&Target::Client(client.clone()), options).await?;
            let before = client.stats().await?;
            let load = load::run(&Target::Client(client.clone()), options).await?;
            let after = client.stats().await?;
            Ok((load, groups(&before, &after)))
        }),
        (Subject::Tcp, _) => {
            let serving = Serving::start(dir)?;
            let _working = match options.what {
                What::Request => Some(Working::start(&serving.url, dir)?),
                _ => None,
            };
            let (load, groups) = runtime.block_on(async {
                let client = Client::connect_with(&serving.url, config).await?;
                let before = client.stats().await?;
                let load = load::run(&Target::Client(client.clone()), options).await?;
                Ok::<_, CliError>((load, groups(&before, &client.stats().await?)))
            })?;
            serving.stop();
            Ok((load, groups))
        }
        _ => runtime.block_on(async {
            let bus = MessageBus::open(dir)?;
            let answers = answering(&Target::Bus(bus.clone()), options).await?;
            let before = bus.stats();
            let load = load::run(&Target::Bus(bus.clone()), options).await?;
            let groups = groups(&before, &bus.stats());
            if let Some(answers) = answers {
                answers.stop().await;
            }
            bus.shutdown().await;
            Ok((load, groups))
        }),
    }
}

/// A server in this process, on threads of its own.
struct Serving {
    runtime: tokio::runtime::Runtime,
    bus: MessageBus,
    url: ServerUrl,
    stop: tokio::sync::oneshot::Sender<()>,
    running: tokio::task::JoinHandle<()>,
}

impl Serving {
    fn start(dir: &Path) -> Result<Self, CliError> {
        let runtime = crate::runtime::for_serving()
            .map_err(|e| CliError::io("start a runtime for", dir, e))?;
        let bus = MessageBus::open(dir)?;
        let mut config = ServerConfig::default();
        config.listen = vec!["tcp://127.0.0.1:0".parse()?];
        let server = runtime.block_on(Server::bind(bus.clone(), config))?;
        let url = server.urls().pop().unwrap_or_default();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let running = runtime.spawn(server.run(async {
            // An error means that the other end was dropped, which is a stop too.
            let _ = stopped.await;
        }));
        Ok(Self {
            runtime,
            bus,
            url,
            stop,
            running,
        })
    }

    /// Stops it.
    fn stop(self) {
        drop(self.stop);
        self.runtime.block_on(async {
            let _ = self.running.await;
            self.bus.shutdown().await;
        });
    }
}

/// A worker over TCP that answers requests, on a thread of its own as another program would be.
struct Working {
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Working {
    fn start(url: &ServerUrl, dir: &Path) -> Result<Self, CliError> {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (ready, is_ready) = std::sync::mpsc::channel::<Result<(), CliError>>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| CliError::io("start a runtime for", dir, e))?;
        let url = url.clone();
        std::thread::spawn(move || {
            runtime.block_on(async {
                let config = ClientConfig::default().name("bench-worker");
                let answers = async {
                    let client = Client::connect_with(&url, config).await?;
                    delivery::answer(&Target::Client(client)).await
                };
                // Whoever measures waits for this, and tells when it is enough.
                match answers.await {
                    Err(error) => drop(ready.send(Err(error))),
                    Ok(_answers) => {
                        let _ = ready.send(Ok(()));
                        let _ = stopped.await;
                    }
                }
            });
        });
        match is_ready.recv() {
            Ok(Ok(())) => Ok(Self { _stop: stop }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Refusal::new(Code::Disconnected, "the worker ended").into()),
        }
    }
}

/// Someone who answers, if requests are measured.
async fn answering(target: &Target, options: &Options) -> Result<Option<Handler>, CliError> {
    Ok(match options.what {
        What::Request => Some(delivery::answer(target).await?),
        _ => None,
    })
}

fn groups(before: &Stats, after: &Stats) -> u64 {
    after.groups - before.groups
}
