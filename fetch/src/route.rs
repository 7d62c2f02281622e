//! The way to a host: straight or through a proxy, in plain text or in TLS.

use crate::dial::dial;
use crate::failure::Failure;
use crate::head::HEAD_LIMIT;
use crate::proxy::Proxy;
use crate::relay::read_head;
use crate::tls::wrap;
use crate::url::Url;
use crate::wire::{Socket, Wire};
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Instant;
use store::Error;

/// How a URL is asked for.
pub struct Route {
    /// What is asked for.
    pub url: Url,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The TLS of an https URL.
    pub tls: Option<Arc<ClientConfig>>,
    /// The TLS to the proxy where that wants it, and the proxy to go through.
    pub proxy: Option<(Option<Arc<ClientConfig>>, Proxy)>,
    /// How many seconds it may take until the whole head of the answer is here, and how long silence may last then.
    pub timeout: u64,
}

impl Route {
    /// Connects, with TLS where the URL wants it.
    pub fn connect(&self, deadline: Instant) -> Result<Box<dyn Wire>, Failure> {
        let host = self.url.authority();
        let wire = match &self.proxy {
            None => self.dial(&self.url, &host, deadline)?,
            Some((tls, proxy)) => {
                let name = format!("the proxy {} for {host}", proxy.url.authority());
                let mut wire = self.dial(&proxy.url, &name, deadline)?;
                if let Some(tls) = tls {
                    wire = self.wrap(wire, tls, &proxy.url, &name)?;
                }
                if self.tls.is_some() {
                    self.tunnel(&mut *wire, proxy, &name)?;
                }
                wire
            }
        };
        match &self.tls {
            Some(tls) => self.wrap(wire, tls, &self.url, &host),
            None => Ok(wire),
        }
    }

    fn dial(&self, url: &Url, name: &str, deadline: Instant) -> Result<Box<dyn Wire>, Failure> {
        let tcp = dial(url.bare_host(), url.port_number(), deadline);
        let tcp = tcp.map_err(|error| Failure::connecting(&error, name, self.timeout))?;
        Ok(Box::new(Socket::new(tcp, deadline)))
    }

    fn wrap(
        &self,
        wire: Box<dyn Wire>,
        tls: &Arc<ClientConfig>,
        url: &Url,
        name: &str,
    ) -> Result<Box<dyn Wire>, Failure> {
        wrap(wire, tls.clone(), url.bare_host()).map_err(|error| Failure::awaiting(&error, name, self.timeout))
    }

    /// Has the proxy connect to the host (RFC 9110, 9.3.6).
    fn tunnel(&self, wire: &mut dyn Wire, proxy: &Proxy, name: &str) -> Result<(), Failure> {
        let target = format!("{}:{}", self.url.host, self.url.port_number());
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", proxy.credentials());
        let sent = wire.write_all(request.as_bytes()).and_then(|()| wire.flush());
        sent.map_err(|error| Failure::awaiting(&error, name, self.timeout))?;
        let (head, _) = read_head(wire, name, HEAD_LIMIT, self.timeout)?;
        match head.status {
            200..=299 => Ok(()),
            407 => Err(self.wants_credentials()),
            status @ 500.. => Err(Failure::passing(format!("{name} failed with status {status}"))),
            status => Err(Error::Failed(format!("{name} refuses to connect: status {status}")).into()),
        }
    }

    /// The request as the next one on the way wants it; `request` names this process as the host.
    pub fn address(&self, request: &str) -> String {
        let host = self.url.authority();
        let (line, fields) = request.split_once("\r\n").unwrap_or((request, "\r\n"));
        let mut fields: String = fields.split_inclusive("\r\n").filter(|field| !field.starts_with("Host: ")).collect();
        if let Some(authorization) = &self.authorization {
            fields.insert_str(0, &format!("Authorization: {authorization}\r\n"));
        }
        match &self.proxy {
            Some((_, proxy)) if self.tls.is_none() => {
                let line = line.replacen(" /", &format!(" http://{host}/"), 1);
                format!("{line}\r\nHost: {host}\r\n{}{fields}", proxy.credentials())
            }
            _ => format!("{line}\r\nHost: {host}\r\n{fields}"),
        }
    }

    /// The failure that the answer 407 is.
    pub fn wants_credentials(&self) -> Failure {
        let host = self.url.authority();
        let Some((_, proxy)) = &self.proxy else {
            return Failure::refused(format!("{host} answers as if it were a proxy (407)"));
        };
        let hint = "hint: give them in the variable that names the proxy: http://USER:PASSWORD@HOST:PORT";
        let text = format!("the proxy {} for {host} wants other credentials (407)\n{hint}", proxy.url.authority());
        Error::Failed(text).into()
    }
}
