/** One duty of an interface, as a test for any framework: `run` rejects when it does not hold. */
export interface ContractTest {
  readonly name: string;
  readonly run: () => Promise<void>;
}
