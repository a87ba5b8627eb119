//! The daemon as a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

pub const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon with its log, line by line.
pub struct Daemon {
    pub child: Child,
    pub lines: Receiver<String>,
}

impl Daemon {
    pub fn start(config: &Path) -> Daemon {
        Daemon::start_with(config, &[])
    }

    /// With further variables in its environment.
    pub fn start_with(config: &Path, environment: &[(&str, &str)]) -> Daemon {
        let mut child = super::rejectd()
            .envs(environment.iter().copied())
            .args(["run", "--config", config.to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = child.stderr.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Daemon { child, lines }
    }

    /// The next line, or none at the end of the log.
    pub fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("the daemon is silent"),
        }
    }

    /// All lines up to one that holds `text`, that one included.
    pub fn until(&self, text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        while seen.last().is_none_or(|line: &String| !line.contains(text)) {
            seen.push(self.line().unwrap_or_else(|| panic!("the log ended before '{text}':\n{}", seen.join("\n"))));
        }
        seen
    }

    pub fn signal(&self, signal: &str) {
        let status = std::process::Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end and returns the exit code.
    pub fn end(mut self) -> Option<i32> {
        while self.line().is_some() {}
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes `folder/rejectd.toml` for a simulated belt, as an editor or a deployment would: at once.
pub fn configure(folder: &Path, parts: &str, more: &str) -> std::path::PathBuf {
    let path = folder.join("rejectd.toml");
    let text = format!(
        "[profile]\nfile = \"product.profile\"\n[source]\nkind = \"simulated\"\n[source.simulated]\n{parts}\n\
         width_px = 128\nheight_px = 128\n{more}\n"
    );
    std::fs::write(folder.join("new.toml"), text).unwrap();
    std::fs::rename(folder.join("new.toml"), &path).unwrap();
    path
}
