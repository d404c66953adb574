//! The embedded broker's crate with a publish hook that counts and does nothing else.

use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use mqtt5::broker::{
    BrokerConfig, BrokerEventHandler, ClientPublishEvent, MqttBroker, PublishAction, ResourceLimits,
    StorageBackendType, StorageConfig,
};

/// More connections than any row opens.
const CONNECTIONS_MAX: usize = 50_000;

struct Counting(Arc<AtomicU64>);

impl BrokerEventHandler for Counting {
    fn on_client_publish<'a>(
        &'a self,
        _: ClientPublishEvent,
    ) -> Pin<Box<dyn Future<Output = PublishAction> + Send + 'a>> {
        self.0.fetch_add(1, Relaxed);
        Box::pin(ready(PublishAction::Handled))
    }
}

/// Serves until the process is ended; the settings are the service's own.
pub fn serve(count: Arc<AtomicU64>, ready: impl Fn(SocketAddr)) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let config = BrokerConfig::new()
            .with_bind_address(([127, 0, 0, 1], 0))
            .with_max_clients(CONNECTIONS_MAX)
            .with_max_packet_size(65_536)
            .with_sys_topics_enabled(false)
            .with_storage(StorageConfig::new().with_backend(StorageBackendType::Memory))
            .with_event_handler(Arc::new(Counting(count)));
        let mut broker = MqttBroker::with_config(config).await.context("cannot start the bare broker")?;
        broker.resource_monitor().update_limits(ResourceLimits {
            max_connections: CONNECTIONS_MAX,
            max_connections_per_ip: CONNECTIONS_MAX,
            max_message_rate_per_client: 0,
            max_bandwidth_per_client: 0,
            max_connection_rate: CONNECTIONS_MAX as u32,
            rate_limit_window: Duration::from_secs(1),
        });
        ready(broker.local_addr().context("the bare broker has no address")?);
        Ok(broker.run().await?)
    })
}
