//! `tollgate dev`: the gateway on a laptop.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use tokio::net::TcpListener;
use tollgate::config::Problems;
use tollgate::gateway::{Current, Gateway, World};
use tollgate_adapters::door::local::{self, LocalSettings};

use crate::load::{self, ConfigFile, SecretsOption, StateOption};
use crate::{Failure, demo, line};

/// Runs the gateway here, over plain HTTP; a change of the config is taken up without dropping a request.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    #[command(flatten)]
    config: ConfigFile,
    /// Where to listen; else where TOLLGATE_LISTEN says, else on 127.0.0.1:9000.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    state: StateOption,
    #[command(flatten)]
    secrets: SecretsOption,
    /// Start the three demo upstreams that infra/gateway.yaml points at.
    #[arg(long)]
    demo: bool,
    /// No line a request.
    #[arg(long)]
    quiet: bool,
}

impl Dev {
    /// Runs it until SIGINT or SIGTERM, then lets requests end for at most 5 s.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let compiled = self.config.compile()?;
        load::runtime()?.block_on(async {
            if self.demo {
                demo::start()
                    .await
                    .map_err(|error| Failure::Outside(format!("the demo upstreams cannot listen: {error}")))?;
            }
            let world = load::world(&self.state, &self.secrets).await?;
            let watched = Watched::of(&compiled.warnings);
            let gateway = Gateway::new(compiled.routes, world.clone());
            load::tell_missing(&gateway.resolve().await);
            let current = Arc::new(Current::new(gateway));
            let listen = self.address()?;
            let listener = TcpListener::bind(listen)
                .await
                .map_err(|error| Failure::Outside(format!("cannot listen on {listen}: {error}")))?;
            let address = listener.local_addr().map_err(|error| Failure::Outside(error.to_string()))?;
            line::say(&format!("listening on http://{address} with {}", self.config.config));
            let reload = tokio::spawn(reload(self.config.clone(), watched, Arc::clone(&current), world));
            let quiet = self.quiet;
            let log = Arc::new(move |exchange: &tollgate::exchange::Exchange| {
                if !quiet {
                    line::say(&line::request(exchange));
                }
            });
            let stop = local::stop_signal().map_err(|error| Failure::Outside(error.to_string()))?;
            local::serve(listener, current, LocalSettings::default(), log, stop).await;
            reload.abort();
            Ok(())
        })
    }
}

impl Dev {
    fn address(&self) -> Result<SocketAddr, Failure> {
        match (self.listen, load::environment("TOLLGATE_LISTEN").filter(|address| !address.is_empty())) {
            (Some(listen), _) => Ok(listen),
            (None, Some(address)) => address.parse().map_err(|_| {
                Failure::Input(format!("TOLLGATE_LISTEN is \"{address}\", expected an address like 0.0.0.0:8080"))
            }),
            (None, None) => Ok(DEFAULT_LISTEN),
        }
    }
}

/// Where a laptop's gateway listens: on itself alone.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9000);

/// The files of a config, as they were when it was read.
#[derive(Debug, PartialEq, Eq)]
struct Watched(BTreeMap<PathBuf, Option<SystemTime>>);

impl Watched {
    /// The files that were read, and their directories, so that a file that `include` matches later counts.
    fn of(problems: &Problems) -> Self {
        let files = problems.files.iter().map(|file| PathBuf::from(&*file.name));
        let all = files.flat_map(|file| {
            let directory = file.parent().map(PathBuf::from);
            [Some(file), directory].into_iter().flatten().collect::<Vec<_>>()
        });
        Self(all.map(|path| (path, None)).collect()).again()
    }

    /// The same files, as they are now.
    fn again(&self) -> Self {
        let modified = |path: &PathBuf| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        Self(self.0.keys().map(|path| (path.clone(), modified(path))).collect())
    }
}

/// Compiles the config anew whenever one of its files changes; one that is wrong is reported and not used.
async fn reload(config: ConfigFile, mut watched: Watched, current: Arc<Current>, world: World) {
    loop {
        tokio::time::sleep(POLL).await;
        let now = watched.again();
        if now == watched {
            continue;
        }
        match config.try_compile() {
            Ok(compiled) => {
                if !compiled.warnings.list.is_empty() {
                    line::say(&compiled.warnings.to_string());
                }
                watched = Watched::of(&compiled.warnings);
                let routes = compiled.routes.routes.len();
                let gateway = Gateway::new(compiled.routes, world.clone());
                load::tell_missing(&gateway.resolve().await);
                current.replace(gateway);
                line::say(&format!("reloaded {}: {routes} routes", config.config));
            }
            Err(problems) => {
                let seen = Watched::of(&problems);
                watched = Watched(now.0.into_iter().chain(seen.0).collect());
                line::say(&format!("{problems}\nnot reloaded: the config that was in use stays"));
            }
        }
    }
}

/// Files are looked at this often: a few metadata calls, and no watcher that differs between systems and editors.
const POLL: Duration = Duration::from_millis(300);
