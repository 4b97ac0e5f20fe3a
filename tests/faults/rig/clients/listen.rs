//! The reference client, `tidegate listen`, as a process. It reconnects by itself.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tidegate::protocol::Dialect;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    time::sleep,
};

use super::{PAUSE, Setting, TICKS, line};
use crate::rig::{
    keyring::Key,
    record::{Begin, Connection, Heard, Over, read_message},
};

/// Runs the client on the ticks of a node until the very last event. Starts it again where it ends.
pub(crate) async fn listen(setting: Setting, node: usize) -> Result<()> {
    loop {
        let Some(subscription) = setting.pool.standing(TICKS) else {
            if setting
                .stop
                .run_until_cancelled(sleep(PAUSE))
                .await
                .is_none()
            {
                return Ok(());
            }
            continue;
        };
        let key = setting.keyring.issue(&format!("listen {node}"), true).await;
        let has_key = key.is_some() || !setting.keyring.is_needed();
        if has_key && run(&setting, node, &subscription, key).await? {
            return Ok(());
        }
        if setting
            .stop
            .run_until_cancelled(sleep(PAUSE))
            .await
            .is_none()
        {
            return Ok(());
        }
    }
}

/// Runs one process to its end. Returns whether the very last event has come.
async fn run(setting: &Setting, node: usize, subscription: &str, key: Option<Key>) -> Result<bool> {
    let server = format!("http://{}", setting.fronts[node]);
    let mut command = Command::new(&setting.program);
    if let Some(key) = &key {
        command.env("TIDEGATE_TOKEN", &key.text);
    }
    let mut process = command
        .args(["listen", subscription, "--json", "--server", &server])
        .env_remove("TIDEGATE_SERVER")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(process.stdout.take().context("its output")?).lines();
    let key = key.map(|key| key.id);
    let mut log = Log::new(setting, node, subscription, key);
    let mut all_said = false;
    while let Some(Ok(Some(text))) = setting.stop.run_until_cancelled(lines.next_line()).await {
        let message: Value = serde_json::from_str(&text)?;
        let number = log.write(&message);
        if number.is_some() && number == *setting.last.borrow() {
            all_said = true;
            break;
        }
    }
    let stopped = all_said || setting.stop.is_cancelled();
    log.finish(if stopped { Over::Open } else { Over::Left });
    process.kill().await?;
    Ok(stopped)
}

/// A splitter of the output into connections, by their first messages.
struct Log<'a> {
    setting: &'a Setting,
    node: usize,
    subscription: &'a str,
    /// The id of its key.
    key: Option<String>,
    cursor: Option<String>,
    /// The time of the last message of the last connection.
    last_heard: Duration,
    current: Option<Connection>,
}

impl<'a> Log<'a> {
    fn new(setting: &'a Setting, node: usize, subscription: &'a str, key: Option<String>) -> Self {
        Self {
            setting,
            node,
            subscription,
            key,
            cursor: None,
            last_heard: setting.notebook.now(),
            current: None,
        }
    }

    /// Records a message. Returns the event's number, if it is one.
    fn write(&mut self, message: &Value) -> Option<u64> {
        let heard = read_message(message)?;
        if matches!(heard, Heard::Connected { .. }) {
            self.finish(Over::Left);
        }
        self.cursor = line::cursor(message).or(self.cursor.take());
        let number = match &heard {
            Heard::Event { number, .. } => Some(*number),
            _ => None,
        };
        let now = self.setting.notebook.now();
        let over = ending(message);
        let new = self.connection();
        self.current.get_or_insert(new).heard.push((now, heard));
        self.last_heard = now;
        if let Some(over) = over {
            self.finish(over);
        }
        number
    }

    fn connection(&self) -> Connection {
        let after = self.cursor.as_deref().and_then(line::position);
        Connection {
            client: "tidegate listen".to_owned(),
            node: self.node,
            subscription: self.subscription.to_owned(),
            dialect: Dialect::Tidegate,
            key: self.key.clone(),
            begin: after.map_or(Begin::Live, Begin::After),
            asked_at: self.last_heard,
            heard: Vec::new(),
            over: Over::Open,
            over_at: Duration::ZERO,
        }
    }

    /// Ends the present connection. How the client lost it is its own affair.
    fn finish(&mut self, over: Over) {
        if let Some(mut connection) = self.current.take() {
            connection.over = over;
            connection.over_at = self.setting.notebook.now();
            self.setting
                .notebook
                .note(|notes| notes.connections.push(connection));
        }
    }
}

fn ending(message: &Value) -> Option<Over> {
    if message["type"] != "ended" {
        return None;
    }
    let code = message["code"]
        .as_u64()
        .and_then(|code| code.try_into().ok());
    Some(Over::Closed(code))
}
