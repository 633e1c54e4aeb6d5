//! The beats of `benches/sockets` as a program on tokio has them: for each connection a task, an interval and a time-out.
//!
//!     beats PORT CONNECTIONS

use std::env;
use std::error::Error;
use std::future;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval_at, sleep_until, timeout};

const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(6);

fn ping(sequence: u32) -> [u8; 12] {
    let mut bytes = [0, 0, 0, 12, 0, 0, 0, 8, 0, 0, 0, 0];
    bytes[8..].copy_from_slice(&sequence.to_be_bytes());
    bytes
}

fn is_answer(bytes: &[u8; 13], sequence: u32) -> bool {
    bytes[..8] == [0, 0, 0, 13, 0x80, 0, 0, 8] && bytes[8..12] == sequence.to_be_bytes()
}

/// Until the peer is lost, or does not answer in time.
async fn beat(mut stream: TcpStream) -> io::Result<()> {
    let mut interval = interval_at(Instant::now() + INTERVAL, INTERVAL);
    let mut sequence = 0;
    loop {
        interval.tick().await;
        sequence += 1;
        stream.write_all(&ping(sequence)).await?;
        let mut answer = [0; 13];
        timeout(TIMEOUT, stream.read_exact(&mut answer)).await??;
        if !is_answer(&answer, sequence) {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = env::args().skip(1);
    let port: u16 = words.next().ok_or("no port")?.parse()?;
    let connections: u32 = words.next().ok_or("no number of connections")?.parse()?;
    let begun = Instant::now();
    for number in 0..connections {
        sleep_until(begun + INTERVAL * number / connections).await;
        // Eight addresses, so that the ports of one do not run out.
        let stream = TcpStream::connect((Ipv4Addr::new(127, 0, 0, 2 + (number % 8) as u8), port)).await?;
        stream.set_nodelay(true)?;
        tokio::spawn(beat(stream));
    }
    future::pending().await
}
