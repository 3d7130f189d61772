mod keys;
mod signer;
