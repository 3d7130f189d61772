//! Port [`Vault`]: files of this machine, and secrets on AWS.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use tollgate::config::Files;
use tollgate::forward::BoxFuture;
use tollgate::secret::Vault;

use crate::aws::AwsSecrets;
use crate::files::Disk;

/// The largest secret of a file.
const LARGEST: usize = 64 * 1024;

/// Reads `file:`, `ssm:` and `secretsmanager:` references.
#[derive(Debug)]
pub struct HostVault(AwsSecrets);

impl HostVault {
    /// Files of this machine, and `aws`.
    pub const fn new(aws: AwsSecrets) -> Self {
        Self(aws)
    }
}

impl Vault for HostVault {
    fn read<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<Bytes, String>> {
        Box::pin(async move {
            match reference.split_once(':') {
                Some(("file", path)) => read_file(path).await,
                Some(("ssm", name)) => self.0.parameter(name).await,
                Some(("secretsmanager", name)) => match name.split_once('#') {
                    Some((id, member)) => self.0.secret(id, Some(member)).await,
                    None => self.0.secret(name, None).await,
                },
                _ => Err("nothing here can read it".to_owned()),
            }
        })
    }
}

/// Reads `file:` references, and the others from a file that stands in for AWS.
pub struct GivenVault(BTreeMap<String, String>);

impl GivenVault {
    /// The secrets of such a file, by reference.
    pub const fn new(secrets: BTreeMap<String, String>) -> Self {
        Self(secrets)
    }
}

impl Vault for GivenVault {
    fn read<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<Bytes, String>> {
        Box::pin(async move {
            match (reference.strip_prefix("file:"), self.0.get(reference)) {
                (Some(path), _) => read_file(path).await,
                (None, Some(value)) => Ok(Bytes::from(value.clone())),
                (None, None) => Err("the secrets file does not have it".to_owned()),
            }
        })
    }
}

impl fmt::Debug for GivenVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

async fn read_file(path: &str) -> Result<Bytes, String> {
    let path = path.to_owned();
    // A file may be on a disk that hangs.
    let read = tokio::task::spawn_blocking(move || Disk.read(&path)).await.map_err(|fault| fault.to_string())?;
    match read {
        Ok(bytes) if bytes.len() > LARGEST => Err("the file is larger than any secret".to_owned()),
        Ok(bytes) => Ok(Bytes::from(bytes)),
        Err(why) => Err(format!("the file cannot be read: {why}")),
    }
}
