//! `tollgate keys`: the keys of an entry of the config's `auth`, in the control table.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tollgate::auth::keyring::{Entry, Keyring, KeyringError, Made, Order, Renewal, Seed, TakenBack};
use tollgate::auth::{ApiKeys, REVOKED_AT_LAST, REVOKED_WITHIN};
use tollgate::clock::{SystemClock, Timestamp};
use tollgate::config;
use tollgate::gateway::Routes;
use tollgate_adapters::telemetry::rfc3339;

use crate::check::Format;
use crate::load::{self, ConfigFile, Outside, SecretsOption, StateOption};
use crate::{Failure, line};

/// Makes, lists, rotates and revokes API keys.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key. It is printed once and kept nowhere.
    Create(Create),
    /// List the keys of a tenant; what is shown of each is how it begins.
    List(List),
    /// Make a new key for the caller of an old one, which ends after a while.
    Rotate(Rotate),
    /// Take back the keys of a caller.
    Revoke(Revoke),
}

/// Where the keys are, and whose.
#[derive(Debug, Args)]
struct Which {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    secrets: SecretsOption,
    /// `dynamodb`, or `dynamodb:ENDPOINT` (DynamoDB Local, say), where the tables are made if they are missing.
    #[arg(long, default_value = "dynamodb", value_name = "STATE")]
    state: String,
    /// The entry of the config's `auth`; may be left out where there is one.
    #[arg(long, value_name = "NAME")]
    auth: Option<String>,
    /// Whose keys.
    #[arg(long, value_name = "TENANT")]
    tenant: String,
    /// How what was done is told: for people, or as JSON on standard output.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    which: Which,
    /// The caller's plan, one of the config's `plans`.
    #[arg(long, default_value = "", value_name = "PLAN", hide_default_value = true)]
    plan: String,
    /// What the caller may do.
    #[arg(long, value_delimiter = ',', value_name = "SCOPES")]
    scopes: Vec<String>,
    /// For how long the key is good, like 90d; else until it is revoked.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    expires: Option<Duration>,
    /// The environment, a part of the key's text.
    #[arg(long, default_value = "live", value_name = "ENV")]
    env: String,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Rotate {
    /// The caller's id, as `list` shows it.
    id: String,
    #[command(flatten)]
    which: Which,
    /// For how long the old keys are still good.
    #[arg(long, value_parser = duration, default_value = "1d", value_name = "DURATION")]
    overlap: Duration,
    /// For how long the new key is good, like 90d; else for as long as the old one was.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    expires: Option<Duration>,
    /// The new key's plan; else the old one's. The old one keeps its own until it ends.
    #[arg(long, value_name = "PLAN")]
    plan: Option<String>,
}

#[derive(Debug, Args)]
struct Revoke {
    /// The caller's id, as `list` shows it.
    id: String,
    #[command(flatten)]
    which: Which,
}

/// For the peppers, for a person who waits.
const PATIENCE: Duration = Duration::from_secs(10);

fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text).ok_or_else(|| "a duration with its unit is expected, like 12h or 90d".to_owned())
}

impl Keys {
    /// Runs it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let which = match &self.command {
            Command::Create(Create { which, .. })
            | Command::List(List { which })
            | Command::Rotate(Rotate { which, .. })
            | Command::Revoke(Revoke { which, .. }) => which,
        };
        if which.state == "memory" {
            return Err(Failure::Input(
                "keys in memory would end with this command: name a table, --state dynamodb[:ENDPOINT]".to_owned(),
            ));
        }
        let routes = which.config.compile()?.routes;
        let keys = which.keys(&routes)?;
        load::runtime()?.block_on(async {
            let vault = which.secrets.vault(Outside::new(&(Arc::new(SystemClock) as _)))?;
            load::tell_missing(&keys.secrets().resolve(&*vault, &SystemClock, PATIENCE).await);
            let table = StateOption { state: which.state.clone() }.open_standing().await?;
            let keyring = Keyring { keys, plans: &routes.plans, table: &*table, clock: &SystemClock };
            match &self.command {
                Command::Create(create) => create.run(&keyring).await,
                Command::List(list) => list.run(&keyring).await,
                Command::Rotate(rotate) => rotate.run(&keyring).await,
                Command::Revoke(revoke) => revoke.run(&keyring).await,
            }
        })
    }
}

impl Which {
    fn keys<'r>(&self, routes: &'r Routes) -> Result<&'r ApiKeys, Failure> {
        let names: Vec<_> = routes.api_keys.iter().map(|keys| keys.name()).collect();
        let found = match &self.auth {
            Some(name) => routes.api_keys.iter().find(|keys| keys.name() == name),
            None => routes.api_keys.first().filter(|_| names.len() == 1),
        };
        found.map(AsRef::as_ref).ok_or_else(|| {
            Failure::Input(match (&self.auth, names.is_empty()) {
                (_, true) => format!("{} has no `auth` with an `api_key`", self.config.config),
                (Some(name), false) => format!("there is no `auth: {name}`, there are {}", names.join(", ")),
                (None, false) => format!("which `auth`? Say --auth, there are {}", names.join(", ")),
            })
        })
    }
}

impl Create {
    async fn run(&self, keyring: &Keyring<'_>) -> Result<(), Failure> {
        let order = Order {
            env: self.env.clone(),
            tenant: self.which.tenant.clone(),
            plan: self.plan.clone(),
            scopes: self.scopes.iter().cloned().collect::<BTreeSet<_>>(),
            lives: self.expires,
        };
        let made = keyring.create(&order, seed()?).await.map_err(|error| failure(&error, keyring))?;
        tell_made(&made, self.which.format);
        Ok(())
    }
}

impl List {
    async fn run(&self, keyring: &Keyring<'_>) -> Result<(), Failure> {
        let entries = keyring.list(&self.which.tenant).await.map_err(|error| failure(&error, keyring))?;
        if self.which.format == Format::Json {
            line::print(&entries.iter().map(to_json).collect::<Value>().to_string());
            return Ok(());
        }
        for entry in &entries {
            line::print(&told(entry));
        }
        line::say(&format!("{} of {}", counted(entries.len()), self.which.tenant));
        Ok(())
    }
}

impl Rotate {
    async fn run(&self, keyring: &Keyring<'_>) -> Result<(), Failure> {
        let Self { id, which, overlap, expires, plan } = self;
        let renewal = Renewal { overlap: *overlap, lives: *expires, plan: plan.clone() };
        let made =
            keyring.rotate(&which.tenant, id, renewal, seed()?).await.map_err(|error| failure(&error, keyring))?;
        tell_made(&made, which.format);
        if which.format == Format::Human {
            let end = rfc3339(Timestamp::from_secs(made.entry.created).plus(*overlap));
            line::say(&format!("what keys {id} had before end at {end} at the latest"));
        }
        Ok(())
    }
}

impl Revoke {
    async fn run(&self, keyring: &Keyring<'_>) -> Result<(), Failure> {
        let Self { id, which } = self;
        let revoked = keyring.revoke(&which.tenant, id).await.map_err(|error| failure(&error, keyring))?;
        let TakenBack { keys, told } = revoked;
        // A second may be over by the time it is read here.
        let within = if told { REVOKED_WITHIN } else { REVOKED_AT_LAST }.as_secs_f64().ceil();
        match which.format {
            Format::Json => line::print(&json!({"id": id, "revoked": keys, "within_s": within}).to_string()),
            Format::Human => {
                line::say(&format!("{id} is revoked ({}): refused everywhere within {within} s", counted(keys)));
            }
        }
        Ok(())
    }
}

fn counted(keys: usize) -> String {
    format!("{keys} key{}", if keys == 1 { "" } else { "s" })
}

/// The key on standard output, alone, so that it can be piped to where it belongs; or all of it as JSON.
fn tell_made(Made { key, entry }: &Made, format: Format) {
    match format {
        Format::Json => {
            let mut made = to_json(entry);
            if let Value::Object(fields) = &mut made {
                fields.insert("key".to_owned(), key.reveal().into());
            }
            line::print(&made.to_string());
        }
        Format::Human => {
            line::print(key.reveal());
            line::say(&format!("{}\nthe key is shown this once", told(entry)));
        }
    }
}

fn told(entry: &Entry) -> String {
    let Entry { id, tenant, plan, scopes, state, expires, version, shown, pepper, created } = entry;
    let at = |secs: u64| rfc3339(Timestamp::from_secs(secs));
    let named = |what: &str, text: &str| if text.is_empty() { String::new() } else { format!("  {what} {text}") };
    let scopes = scopes.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    format!(
        "{id}  {}  {shown}…  tenant {tenant}{}{}  made {}  {}  version {version}  {}",
        state.as_str(),
        named("plan", plan),
        named("scopes", &scopes),
        at(*created),
        expires.map_or_else(|| "no end".to_owned(), |expires| format!("ends {}", at(expires))),
        pepper.as_ref().map_or_else(|| "its pepper is gone".to_owned(), |pepper| format!("pepper {pepper}")),
    )
}

fn to_json(entry: &Entry) -> Value {
    json!({
        "id": entry.id,
        "state": entry.state.as_str(),
        "begins": entry.shown,
        "tenant": entry.tenant,
        "plan": entry.plan,
        "scopes": entry.scopes,
        "created": entry.created,
        "expires": entry.expires,
        "version": entry.version,
        "pepper": entry.pepper,
    })
}

/// Randomness of the system's.
fn seed() -> Result<Seed, Failure> {
    let mut seed = Seed { secret: [0; 32], id: [0; 12] };
    getrandom::fill(&mut seed.secret)
        .and_then(|()| getrandom::fill(&mut seed.id))
        .map_err(|error| Failure::Outside(format!("the system has no randomness: {error}")))?;
    Ok(seed)
}

fn failure(error: &KeyringError, keyring: &Keyring<'_>) -> Failure {
    match error {
        KeyringError::Table(_) => Failure::Outside(error.to_string()),
        KeyringError::UnknownPlan { plan } => Failure::Input(config::unknown_plan(plan, keyring.plans)),
        KeyringError::Invalid(_)
        | KeyringError::NotFound { .. }
        | KeyringError::Full { .. }
        | KeyringError::NoPepper { .. } => Failure::Input(error.to_string()),
    }
}
