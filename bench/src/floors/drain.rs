//! A rumqttc client that subscribes to all heartbeats and counts them, acknowledging by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};

/// Requests the client's channel holds, as in the service.
const REQUESTS_MAX: usize = 65_537;

/// Counts until the process is ended.
pub fn serve(broker: SocketAddr, count: Arc<AtomicU64>, ready: impl Fn(SocketAddr)) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let mut options = MqttOptions::new("bench-floor", broker.ip().to_string(), broker.port());
        options.set_max_packet_size(Some(65_536));
        let (client, mut eventloop) = AsyncClient::new(options, REQUESTS_MAX);
        client.subscribe("fleet/+/+/heartbeat", QoS::AtLeastOnce).await?;
        loop {
            match eventloop.poll().await? {
                Event::Incoming(Incoming::SubAck(_)) => ready(broker),
                Event::Incoming(Incoming::Publish(_)) => drop(count.fetch_add(1, Relaxed)),
                _ => {}
            }
        }
    })
}
