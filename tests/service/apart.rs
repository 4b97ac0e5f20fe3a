//! A node on worker threads of its own, so that a test can block them without stopping itself.

use std::ops::Deref;

use tidegate::config::Config;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::spawn_blocking,
};

use crate::support::Service;

/// A running node, and the threads that it has to itself.
pub(crate) struct Apart {
    service: Option<Service>,
    runtime: Option<Runtime>,
}

impl Apart {
    pub(crate) async fn start(
        workers: usize,
        settings: impl FnOnce(&mut Config) + Send + 'static,
    ) -> Self {
        let starting = spawn_blocking(move || {
            let runtime = Builder::new_multi_thread()
                .worker_threads(workers)
                .enable_all()
                .build()
                .unwrap();
            let service = runtime.block_on(Service::start_with(settings));
            (Some(service), Some(runtime))
        });
        let (service, runtime) = starting.await.unwrap();
        Self { service, runtime }
    }

    /// Returns the runtime of the node.
    pub(crate) fn handle(&self) -> Handle {
        self.runtime.as_ref().unwrap().handle().clone()
    }

    /// Stops in order. Panics if the node ends with an error.
    pub(crate) async fn stop(mut self) {
        let handle = self.handle();
        let service = self.service.take().unwrap();
        spawn_blocking(move || handle.block_on(service.stop()))
            .await
            .unwrap();
    }
}

impl Deref for Apart {
    type Target = Service;

    fn deref(&self) -> &Service {
        self.service.as_ref().unwrap()
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // A runtime must not be dropped inside a task.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
