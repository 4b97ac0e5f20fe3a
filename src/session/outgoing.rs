//! From the outbox and the replays to the client: writing, taking, and accounting for both.

use std::{
    task::{Context, Poll},
    time::Instant,
};

use super::{Broken, Outcome, Outgoing, ROUND_BYTES, Session, closing::last_words};
use crate::{
    protocol::Ending,
    router::outbox::{Entry, Taken},
    telemetry::Metrics,
};

impl Session {
    /// Writes what is queued, and takes more: live frames first, then the next part of a replay. A channel that catches
    /// up holds back its own entries, and nobody else's.
    pub(super) fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Outgoing {
        match self.transport.poll_write(cx) {
            Poll::Ready(Ok(())) => self.on_flushed(),
            Poll::Ready(Err(_)) => {
                self.broken = Some(Broken::Lost);
                return Outgoing::Ends(Outcome::Found(Ending::ConnectionLost));
            }
            Poll::Pending => return self.on_refused(cx),
        }
        let replays = self.channels.any_catches_up();
        if replays && self.channels.all_catch_up() {
            self.report(0);
            return self.poll_replays(cx);
        }
        let channels = &self.channels;
        let is_held_back = |id| replays && channels.catches_up(id);
        match (self.outbox).poll_take(cx, ROUND_BYTES, is_held_back, &mut self.taken) {
            Poll::Ready(Taken::Entries { bytes }) => {
                self.reported = bytes;
                self.queue_taken();
                match replays.then(|| self.poll_replays(cx)) {
                    Some(Outgoing::Ends(outcome)) => Outgoing::Ends(outcome),
                    _ => Outgoing::More,
                }
            }
            Poll::Ready(Taken::End(end)) => Outgoing::Ends(Outcome::Ended(end)),
            Poll::Pending => {
                self.reported = 0;
                if replays {
                    self.poll_replays(cx)
                } else {
                    Outgoing::Idle
                }
            }
        }
    }

    fn on_flushed(&mut self) {
        self.note_written();
        self.pongs_waiting = 0;
        self.heartbeat.flushed(Instant::now);
    }

    fn on_refused(&mut self, cx: &mut Context<'_>) -> Outgoing {
        if self.transport.refused(cx, self.outbox.is_awaited()) {
            self.outbox.refused();
        }
        let progress = self.note_written();
        let refused = self.transport.outbound().shared_bytes();
        self.report(refused + self.channels.held());
        self.heartbeat.refused(progress, Instant::now());
        if let Some(postponed) = &mut self.postponed {
            return match postponed.poll_stopping(cx) {
                Some(end) => Outgoing::Ends(Outcome::Ended(end)),
                None => Outgoing::Refused,
            };
        }
        match self.outbox.poll_end(cx) {
            Poll::Ready(end) => match self.postpone(end) {
                Some(end) => Outgoing::Ends(Outcome::Ended(end)),
                None => Outgoing::Refused,
            },
            Poll::Pending => Outgoing::Refused,
        }
    }

    /// Accounts for what the kernel has taken; returns whether it took anything.
    pub(super) fn note_written(&mut self) -> bool {
        let written = self.transport.outbound().take_written();
        if written.events > 0 {
            self.context.metrics.delivery.frames.inc_by(written.events);
        }
        if let Some(oldest) = written.oldest {
            Metrics::observe(
                &self.context.metrics.delivery.match_to_socket,
                oldest.elapsed(),
            );
        }
        while let Some(channel) = self.transport.outbound().take_ended() {
            if let Some(mut channel) = self.channels.remove(channel) {
                channel.acks.tell_rest(&self.context);
            }
        }
        let beyond = self.transport.take_progress();
        written.progress || beyond
    }

    /// Tells the router the number of bytes in hand, if it has changed.
    fn report(&mut self, held: usize) {
        if std::mem::replace(&mut self.reported, held) != held {
            self.outbox.holds(held);
        }
    }

    fn queue_taken(&mut self) {
        let mut taken = std::mem::take(&mut self.taken);
        for entry in taken.drain(..) {
            self.queue(entry);
        }
        self.taken = taken;
    }

    /// Queues an entry of the outbox.
    fn queue(&mut self, entry: Entry) {
        #[cfg(test)]
        if let Entry::Frame(_, frame) = &entry {
            super::fault::strike(frame);
        }
        let (context, dialect) = (&self.context, self.dialect);
        let outbound = self.transport.outbound();
        self.channels.queue(entry, outbound, |_, end, cursor| {
            last_words(context, dialect, end, cursor)
        });
    }
}
