//! A registry and its mirrors: what one of them lacks or sends wrong comes from the next, the registry itself last.

use crate::credentials;
use crate::endpoint::{Endpoint, Received};
use crate::http::Http;
use crate::progress::Progress;
use crate::registries;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use store::document::Document;
use store::{Digest, Error, Reference, Result};

/// Where one image comes from.
pub struct Registry {
    /// The mirrors in their order, and the registry; never empty.
    endpoints: Vec<Source>,
    progress: Arc<Progress>,
}

struct Source {
    endpoint: Endpoint,
    /// It is down, or has sent something wrong: it is asked no more.
    failed: AtomicBool,
}

impl Registry {
    /// Prepares to pull what `reference` names; sends nothing yet. All that other programs must be asked for is asked
    /// for here, before anything comes from a network.
    pub fn open(mut http: Http, reference: &Reference) -> Result<Self> {
        let places = registries::places(reference)?;
        places.iter().filter(|place| place.insecure).for_each(|place| http.believe(&place.host));
        let http = Arc::new(http);
        let mut endpoints = Vec::new();
        for place in places {
            let credentials = match credentials::find(&place.host, &place.repository) {
                // What anybody may pull can be had all the same; for the rest the registry answers 401.
                Err(error @ (Error::Failed(_) | Error::Io { .. })) => {
                    crate::tell(&format!("{error}\nhint: {} is asked without credentials", place.host));
                    None
                }
                found => found?,
            };
            let endpoint = Endpoint::new(http.clone(), place, reference, credentials);
            endpoints.push(Source { endpoint, failed: AtomicBool::new(false) });
        }
        Ok(Self { endpoints, progress: http.progress.clone() })
    }

    /// Gets the index or manifest of a tag or digest from the first that has it.
    pub fn manifest(&self, name: &str) -> Result<Received> {
        self.first(|endpoint| {
            let received = endpoint.manifest(name)?;
            Document::read(&received.bytes, &[received.media_type.as_deref()], &format!("manifest {name}"))?;
            Ok(received)
        })
    }

    /// The digest that a tag has by now, without a GET, at the first that can be asked; `None`: it does not say it so.
    pub fn digest(&self, tag: &str) -> Result<Option<Digest>> {
        self.first(|endpoint| endpoint.digest(tag))
    }

    fn first<T>(&self, ask: impl Fn(&Endpoint) -> Result<T>) -> Result<T> {
        let mut number = 0;
        loop {
            match ask(self.endpoint(&mut number)) {
                Ok(answer) => return Ok(answer),
                Err(error) => number = self.pass_over(number, error)?,
            }
        }
    }

    /// The first endpoint from `number` on that may be asked; `number` becomes its own.
    pub fn endpoint(&self, number: &mut usize) -> &Endpoint {
        let last = self.endpoints.len() - 1;
        while *number < last && self.endpoints[*number].failed.load(Ordering::Relaxed) {
            *number += 1;
        }
        &self.endpoints[*number].endpoint
    }

    /// Tells that an endpoint failed, and hands back the number of the next to ask; the registry's own failure is
    /// the failure.
    pub fn pass_over(&self, number: usize, error: Error) -> Result<usize> {
        let source = &self.endpoints[number];
        if number + 1 == self.endpoints.len() || matches!(error, Error::Io { .. } | Error::Usage(_) | Error::Busy(_)) {
            return Err(error);
        }
        // What it lacks today it may not lack of the next blob.
        let lacks = matches!(error, Error::NotFound(_));
        if lacks || !source.failed.swap(true, Ordering::Relaxed) {
            let why = error.to_string();
            let why = why.lines().next().unwrap_or_default();
            self.progress.say(&format!("the mirror {} is passed over: {why}", source.endpoint.host()));
        }
        Ok(number + 1)
    }
}
