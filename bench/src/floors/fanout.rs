//! Bare actix-web-actors: once all are there, every session gets the same shared frame every tick, unless it is still
//! busy with the last.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use actix::prelude::*;
use actix_web::{App, HttpRequest, HttpServer, web};
use actix_web_actors::ws;
use bytes::Bytes;

#[derive(Message, Clone)]
#[rtype(result = "()")]
struct Frame(Bytes);

type Sessions = web::Data<Mutex<Vec<Recipient<Frame>>>>;

struct Session(Sessions);

impl Actor for Session {
    type Context = ws::WebsocketContext<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(1);
        if let Ok(mut sessions) = self.0.lock() {
            sessions.push(context.address().recipient());
        }
    }
}

impl Handler<Frame> for Session {
    type Result = ();

    fn handle(&mut self, Frame(bytes): Frame, context: &mut Self::Context) {
        context.binary(bytes);
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Session {
    fn handle(&mut self, _: Result<ws::Message, ws::ProtocolError>, _: &mut Self::Context) {}
}

/// Serves until the process is ended.
pub fn serve(bytes: usize, tick_ms: u64, dashboards: usize, ready: impl Fn(SocketAddr)) -> anyhow::Result<()> {
    actix_web::rt::System::new().block_on(async {
        let sessions: Sessions = web::Data::new(Mutex::default());
        let all = sessions.clone();
        let open = |request: HttpRequest, body: web::Payload, sessions: Sessions| async move {
            ws::start(Session(sessions), &request, body)
        };
        let server =
            HttpServer::new(move || App::new().app_data(sessions.clone()).default_service(web::get().to(open)));
        let server = server.workers(2).backlog(4_096).bind(("127.0.0.1", 0))?;
        server.addrs().first().copied().into_iter().for_each(ready);
        actix_web::rt::spawn(async move {
            let frame = Frame(vec![0; bytes].into());
            let mut tick = actix_web::rt::time::interval(Duration::from_millis(tick_ms));
            // Frames that were missed are not made up for at once, which would be cheaper than one a tick.
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                if let Ok(sessions) = all.lock()
                    && sessions.len() >= dashboards
                {
                    sessions.iter().for_each(|session| drop(session.try_send(frame.clone())));
                }
            }
        });
        Ok(server.run().await?)
    })
}
