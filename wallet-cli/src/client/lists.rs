//! Lists that come in pages. The caller sees whole lists.
//!
//! A list may change between two pages: what is in it the whole time is neither missing nor twice, because it is ordered and
//! every page goes on after the last item of the one before. A node that does not keep that order is not believed.

use governance::{
    Account, Ballot, MAX_ENDED_PROPOSALS, MAX_LIVE_PROPOSALS, MAX_VALIDATORS, Power, Proposal, ProposalId,
    ReadinessReport, Validator, ValidatorId,
};
use proto::pb::governance::v1 as pb;

use super::{Client, ClientError, PATIENCE, failure, patient};

/// A validator's vote, and who it is now if it is active.
pub(crate) struct ListedBallot {
    pub(crate) validator: ValidatorId,
    pub(crate) ballot: Ballot,
    pub(crate) active: Option<(String, Power)>,
}

/// How far a validator's host is, and who it is now if it is active.
pub(crate) struct ListedReport {
    pub(crate) validator: ValidatorId,
    pub(crate) report: ReadinessReport,
    pub(crate) active: Option<(String, Power)>,
}

impl Client {
    /// All active validators, by id.
    pub(crate) async fn validators(&mut self) -> Result<Vec<(Validator, Account)>, ClientError> {
        let mut pages = Pages::new("validators", MAX_VALIDATORS);
        while let Some(page_token) = pages.token() {
            let request = pb::ListValidatorsRequest {
                page_size: 0,
                page_token,
            };
            let answer = self.service.list_validators(patient(request, PATIENCE)).await;
            let answer = answer.map_err(|status| failure(&self.url, status))?.into_inner();
            for message in answer.validators {
                let found = <(Validator, Account)>::try_from(message).map_err(self.not_understood())?;
                pages.push(found.0.id, found, &self.url)?;
            }
            pages.turn(answer.next_page_token, &self.url)?;
        }
        Ok(pages.items)
    }

    /// The proposals in order of submission.
    pub(crate) async fn proposals(&mut self, include_ended: bool) -> Result<Vec<Proposal>, ClientError> {
        // The list may move on by as much as it is long while it is read.
        let mut pages = Pages::new("proposals", 2 * (MAX_ENDED_PROPOSALS + MAX_LIVE_PROPOSALS));
        while let Some(page_token) = pages.token() {
            let request = pb::ListProposalsRequest {
                include_ended,
                page_size: 0,
                page_token,
            };
            let answer = self.service.list_proposals(patient(request, PATIENCE)).await;
            let answer = answer.map_err(|status| failure(&self.url, status))?.into_inner();
            for message in answer.proposals {
                let proposal = self.genuine(message, "the list of proposals")?;
                pages.push((proposal.submitted_height, proposal.id), proposal, &self.url)?;
            }
            pages.turn(answer.next_page_token, &self.url)?;
        }
        Ok(pages.items)
    }

    /// Every vote on a proposal, by validator.
    pub(crate) async fn ballots(&mut self, proposal: ProposalId) -> Result<Vec<ListedBallot>, ClientError> {
        self.ballots_of(proposal, None).await
    }

    /// One validator's vote on a proposal.
    pub(crate) async fn ballot(
        &mut self,
        proposal: ProposalId,
        validator: ValidatorId,
    ) -> Result<Option<Ballot>, ClientError> {
        let found = self.ballots_of(proposal, Some(validator)).await?;
        let own = found.into_iter().find(|listed| listed.validator == validator);
        Ok(own.map(|listed| listed.ballot))
    }

    async fn ballots_of(
        &mut self,
        proposal: ProposalId,
        validator: Option<ValidatorId>,
    ) -> Result<Vec<ListedBallot>, ClientError> {
        let mut pages = Pages::new("ballots", MAX_VALIDATORS);
        while let Some(page_token) = pages.token() {
            let request = pb::ListBallotsRequest {
                proposal_id: proposal.0.to_vec(),
                page_size: 0,
                page_token,
                validator_id: validator.map(|id| id.0.to_vec()),
            };
            let answer = self.service.list_ballots(patient(request, PATIENCE)).await;
            let answer = answer.map_err(|status| failure(&self.url, status))?.into_inner();
            for mut message in answer.ballots {
                let active = message.validator.take().map(standing);
                let (validator, ballot) =
                    <(ValidatorId, Ballot)>::try_from(message).map_err(self.not_understood())?;
                let listed = ListedBallot {
                    validator,
                    ballot,
                    active,
                };
                pages.push(validator, listed, &self.url)?;
            }
            pages.turn(answer.next_page_token, &self.url)?;
        }
        Ok(pages.items)
    }

    /// Every readiness report on a proposal, by validator.
    pub(crate) async fn reports(&mut self, proposal: ProposalId) -> Result<Vec<ListedReport>, ClientError> {
        let mut pages = Pages::new("reports", MAX_VALIDATORS);
        while let Some(page_token) = pages.token() {
            let request = pb::ListReportsRequest {
                proposal_id: proposal.0.to_vec(),
                page_size: 0,
                page_token,
                validator_id: None,
            };
            let answer = self.service.list_reports(patient(request, PATIENCE)).await;
            let answer = answer.map_err(|status| failure(&self.url, status))?.into_inner();
            for mut message in answer.reports {
                let active = message.validator.take().map(standing);
                let (validator, report) =
                    <(ValidatorId, ReadinessReport)>::try_from(message).map_err(self.not_understood())?;
                let listed = ListedReport {
                    validator,
                    report,
                    active,
                };
                pages.push(validator, listed, &self.url)?;
            }
            pages.turn(answer.next_page_token, &self.url)?;
        }
        Ok(pages.items)
    }
}

fn standing(validator: pb::ActiveValidator) -> (String, Power) {
    (validator.name, Power(validator.power))
}

/// The pages of one list so far.
struct Pages<K, T> {
    what: &'static str,
    /// More than this is no list but an attack on the wallet's memory.
    limit: usize,
    last: Option<K>,
    items: Vec<T>,
    /// Of the next page; `None` after the last one.
    token: Option<Vec<u8>>,
}

impl<K: Ord, T> Pages<K, T> {
    const fn new(what: &'static str, limit: usize) -> Self {
        Self {
            what,
            limit,
            last: None,
            items: Vec::new(),
            token: Some(Vec::new()),
        }
    }

    fn token(&mut self) -> Option<Vec<u8>> {
        self.token.take()
    }

    fn push(&mut self, key: K, item: T, url: &str) -> Result<(), ClientError> {
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(self.refuse("an item is twice in it, or out of order", url));
        }
        if self.items.len() >= self.limit {
            return Err(self.refuse("it is longer than the chain's rules allow", url));
        }
        self.last = Some(key);
        self.items.push(item);
        Ok(())
    }

    fn turn(&mut self, next: Vec<u8>, url: &str) -> Result<(), ClientError> {
        if next.is_empty() {
            return Ok(());
        }
        if self.items.is_empty() {
            return Err(self.refuse("an empty page says that more come", url));
        }
        self.token = Some(next);
        Ok(())
    }

    fn refuse(&self, problem: &'static str, url: &str) -> ClientError {
        ClientError::List {
            url: url.to_owned(),
            what: self.what,
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://127.0.0.1:1";

    #[test]
    fn pages_end_with_an_empty_token() {
        let mut pages = Pages::new("things", 10);
        assert_eq!(pages.token(), Some(Vec::new()));
        pages.push(1, 'a', URL).expect("the first");
        pages.turn(vec![1], URL).expect("there is more");
        assert_eq!(pages.token(), Some(vec![1]));
        pages.push(2, 'b', URL).expect("the second");
        pages.turn(Vec::new(), URL).expect("the last");
        assert_eq!(pages.token(), None);
        assert_eq!(pages.items, ['a', 'b']);
    }

    #[test]
    fn a_list_without_order_or_end_is_refused() {
        let mut pages = Pages::new("things", 2);
        let error = pages.turn(vec![1], URL).expect_err("an empty page");
        assert!(error.to_string().contains("an empty page"), "{error}");
        pages.push(5, 'a', URL).expect("the first");
        for key in [5, 4] {
            let error = pages.push(key, 'b', URL).expect_err("out of order");
            assert!(error.to_string().contains("out of order"), "{error}");
        }
        pages.push(6, 'b', URL).expect("the second");
        let error = pages.push(7, 'c', URL).expect_err("too long");
        assert!(error.to_string().contains("longer than"), "{error}");
    }
}
