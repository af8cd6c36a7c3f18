//! Script verification of an input that spends a name output.

use bitcoin::script::Script;
use bitcoin::{Amount, TxOut};
use bitcoinconsensus::{VERIFY_ALL_PRE_TAPROOT, VERIFY_P2SH, VERIFY_WITNESS};

/// Why the spend of a name output is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpendError {
    /// The whole output script, prefix included, doesn't end in true.
    #[error("input {input} doesn't satisfy the name output's script")]
    Script {
        /// Index of the input.
        input: usize,
    },
    /// The P2SH or witness program behind the prefix isn't satisfied.
    #[error("input {input} doesn't satisfy the script or witness program of the name output's address")]
    Program {
        /// Index of the input.
        input: usize,
    },
    /// The script engine can't read the spending transaction.
    #[error("the spending transaction can't be read for script verification")]
    Unreadable,
}

/// Checks that input `input` of the transaction serialized in `spending` may spend the name output `spent`, whose
/// script ends in `address`.
///
/// Namecoin runs input script and whole output script, prefix included (also as what legacy signatures cover); it
/// recognises P2SH and witness programs behind the prefix, though, and then runs those. The script engine knows
/// nothing of names, so such outputs take two runs: the whole script as an ordinary one, then the address script
/// alone with programs recognised. Both must end in true, which Namecoin's single run does whenever both do,
/// whatever the prefix; the other way round it needs a prefix that drops just what it pushes, as all have in
/// practice.
///
/// In force are P2SH, DERSIG, NULLDUMMY, CHECKLOCKTIMEVERIFY, CHECKSEQUENCEVERIFY and WITNESS; taproot is not
/// active, so outputs of witness version 1 and later are anyone's to spend, as on the chain.
/// Source: Namecoin Core `script/interpreter.cpp`, `VerifyScript`, and `validation.cpp`, `GetBlockScriptFlags`.
///
/// # Errors
///
/// [`SpendError::Script`] and [`SpendError::Program`] by the run that failed; [`SpendError::Unreadable`] when the
/// transaction isn't serialized as consensus wants.
pub fn check_spend(spent: &TxOut, address: &Script, spending: &[u8], input: usize) -> Result<(), SpendError> {
    let whole = &spent.script_pubkey;
    if address.is_p2sh() || address.is_witness_program() {
        let without_programs = VERIFY_ALL_PRE_TAPROOT & !(VERIFY_P2SH | VERIFY_WITNESS);
        run(
            whole,
            spent.value,
            spending,
            input,
            without_programs,
            SpendError::Script { input },
        )?;
        run(
            address,
            spent.value,
            spending,
            input,
            VERIFY_ALL_PRE_TAPROOT,
            SpendError::Program { input },
        )
    } else {
        run(
            whole,
            spent.value,
            spending,
            input,
            VERIFY_ALL_PRE_TAPROOT,
            SpendError::Script { input },
        )
    }
}

fn run(
    script: &Script,
    value: Amount,
    spending: &[u8],
    input: usize,
    flags: u32,
    refused: SpendError,
) -> Result<(), SpendError> {
    bitcoinconsensus::verify_with_flags(script.as_bytes(), value.to_sat(), spending, None, input, flags).map_err(
        |error| match error {
            bitcoinconsensus::Error::ERR_SCRIPT => refused,
            _ => SpendError::Unreadable,
        },
    )
}
