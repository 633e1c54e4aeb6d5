//! `cmpp_client PORT ACCOUNT SECRET INTERVAL_S`: logs in at 127.0.0.1, then says what happens, one line each.

use cmppprotocol::{CMPP_VERSION_20, CmppConfig, CmppConnection, CmppProtocolParams};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [port, account, password, interval] = words.as_slice() else {
        return Err("cmpp_client PORT ACCOUNT SECRET INTERVAL_S".into());
    };
    let config = CmppConfig {
        host: "127.0.0.1".into(),
        port: port.parse()?,
        account: account.clone(),
        password: password.clone(),
        version: CMPP_VERSION_20,
        protocol_params: CmppProtocolParams {
            heartbeat_interval: interval.parse()?,
            response_timeout: 1,
            // It hashes the Status of CONNECT_RESP in one width, gateways in several.
            verify_authenticator: false,
            ..CmppProtocolParams::default()
        },
    };
    let connection = CmppConnection::connect(config).await?;
    println!("logged in");
    let mut events = connection.take_events().await.ok_or("no events")?;
    while let Some(event) = events.recv().await {
        println!("{event:?}");
    }
    Ok(())
}
