//! From the outbox to the client: writing, taking, and accounting for both.

use std::{
    task::{Context, Poll},
    time::Instant,
};

use super::{Broken, Connection, Outcome, Outgoing, ROUND_BYTES, channel::CatchUp};
use crate::{protocol::Ending, router::outbox::Taken, telemetry::Metrics};

impl Connection {
    /// Writes what is queued and takes more from the outbox.
    pub(super) fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Outgoing {
        match self.transport.poll_write(cx) {
            Poll::Ready(Ok(())) => self.on_flushed(),
            Poll::Ready(Err(_)) => {
                self.broken = Some(Broken::Lost);
                return Outgoing::Ends(Outcome::Found(Ending::ConnectionLost));
            }
            Poll::Pending => return self.on_refused(cx),
        }
        if self.catch_up.is_some() {
            self.report(0);
            return self.poll_replay(cx);
        }
        match self.outbox.poll_take(cx, ROUND_BYTES, &mut self.taken) {
            Poll::Ready(Taken::Frames { bytes }) => {
                self.reported = bytes;
                self.queue_frames();
                Outgoing::More
            }
            Poll::Ready(Taken::End(end)) => Outgoing::Ends(Outcome::Ended(end)),
            Poll::Pending => {
                self.reported = 0;
                Outgoing::Idle
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
        let past = self.catch_up.as_deref().map_or(0, CatchUp::held);
        let refused = self.transport.outbound().shared_bytes();
        self.report(refused + past);
        self.heartbeat.refused(progress, Instant::now());
        if let Some(replay) = &mut self.catch_up
            && replay.knows_its_end()
        {
            return match replay.poll_stopping(cx) {
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

    /// Accounts for what the kernel has taken; says whether it took anything.
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
        let beyond = self.transport.take_progress();
        written.progress || beyond
    }

    /// Tells the router how much is in hand, if that has changed.
    fn report(&mut self, held: usize) {
        if std::mem::replace(&mut self.reported, held) != held {
            self.outbox.holds(held);
        }
    }

    pub(super) fn queue_frames(&mut self) {
        for frame in self.taken.drain(..) {
            #[cfg(test)]
            super::fault::strike(&frame);
            self.acks.sent(frame.position, frame.event_at.is_some());
            self.transport.outbound().push_shared(frame);
        }
    }
}
