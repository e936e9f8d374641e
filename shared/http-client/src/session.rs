//! A client that keeps its connection between requests.

use tokio::time::{Instant, timeout_at};

use crate::{Client, ClientError, Connection, Request, Response};

/// Keeps a connection, and makes a new one when the server has closed the old one
/// before the next request was sent.
#[derive(Debug)]
pub struct Session {
    client: Client,
    connection: Option<Connection>,
    /// Connections made so far.
    pub connections: usize,
}

impl Session {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, connection: None, connections: 0 }
    }

    /// Sends `request` on the connection that there is, or on a new one.
    ///
    /// # Errors
    /// When there is no complete response within the limits. The next request gets
    /// a new connection then; this one is not repeated, as the server may have
    /// seen it.
    pub async fn send(&mut self, request: Request) -> Result<Response, ClientError> {
        let deadline = Instant::now() + self.client.limits().response;
        let kept = match self.connection.take() {
            Some(mut connection) => {
                let open = timeout_at(deadline, connection.is_open()).await.unwrap_or(false);
                open.then_some(connection)
            }
            None => None,
        };
        let mut connection = match kept {
            Some(connection) => connection,
            None => {
                self.connections += 1;
                self.client.connect_before(deadline).await?
            }
        };
        let response = connection.send_before(request, deadline).await?;
        self.connection = Some(connection);
        Ok(response)
    }
}
