/* Storage for items that a KMS wraps: next to the records, under an address that no record can have. */

/** Takes the position of a kid. No key has this kid, since kids have 22 characters. */
export const WRAPPED_KID = 'wrapped';

export interface WrappedItem {
  /** Wrapped by the KMS, and useless without it. */
  readonly value: string;
  /** Opaque. */
  readonly version: string;
}

/** Storage for wrapped items that many machines share. It compares and sets in one step. */
export interface WrappedItems {
  /** The owner of these items; each wrapped item is bound to it. */
  readonly tenant: string;
  read(name: string): Promise<WrappedItem | undefined>;
  /** Writes if the stored item has the version `expected` (`undefined`: no item); otherwise returns `false`. */
  write(name: string, expected: string | undefined, value: string): Promise<boolean>;
  /** Removes the item if it has the version `expected`. */
  remove(name: string, expected: string): Promise<boolean>;
}
