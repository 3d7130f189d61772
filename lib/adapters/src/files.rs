//! The config's files on disk.

use std::fs;
use std::path::Path;

use tollgate::config::Files;

/// Reads from the file system; relative paths from the working directory.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let metadata = fs::metadata(path).map_err(|error| plain(&error))?;
        if metadata.len() > LARGEST {
            return Err(format!("it is larger than {} MiB", LARGEST >> 20));
        }
        fs::read(path).map_err(|error| plain(&error))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, String> {
        let directory = if directory.is_empty() { "." } else { directory };
        let mut names = Vec::new();
        for entry in fs::read_dir(Path::new(directory)).map_err(|error| plain(&error))? {
            let entry = entry.map_err(|error| plain(&error))?;
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// What the system says, without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// No file that a config names is larger.
const LARGEST: u64 = 16 << 20;
