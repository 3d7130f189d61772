//! Doors: where requests come in. A door translates, and decides nothing that a route could.

use std::sync::Arc;

use tollgate::gateway::Gateway;

use crate::LogSink;
use crate::settings::DoorSettings;

pub mod health;
pub mod lambda;
pub mod local;

/// Serves by the host's door until the host says that it is enough.
///
/// # Errors
/// Words for the log: the Runtime API is gone, or the socket cannot be listened on.
pub async fn run(gateway: Gateway, door: DoorSettings, log: LogSink) -> Result<(), String> {
    match door {
        DoorSettings::Web(web) => {
            let listen = web.listen;
            local::run(gateway, web, log).await.map_err(|fault| format!("cannot listen on {listen}: {fault}"))
        }
        DoorSettings::Lambda(settings) => match lambda::run(Arc::new(gateway), settings, log).await {
            Ok(never) => match never {},
            Err(fault) => Err(fault.to_string()),
        },
    }
}
