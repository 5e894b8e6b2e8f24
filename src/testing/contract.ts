/** One duty of an interface, as a test for any framework: `run` rejects when the implementation breaks it. */
export interface ContractTest {
  readonly name: string;
  readonly run: () => Promise<void>;
}
