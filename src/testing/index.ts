/** `holdfast/testing`: the duties of keyrings and stores, as tests for any framework. */
export type { ContractTest } from './contract.ts';
export { type KeyringUnderTest, keyringContract } from './keyring-contract.ts';
export { type StoreUnderTest, storeContract } from './store-contract.ts';
