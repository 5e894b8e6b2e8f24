import { InvalidArgumentError } from '../../errors.ts';
import type { Environment } from '../../system/environment.ts';
import type { Layout } from '../../system/files/paths.ts';
import type { KeyringOpener } from '../keyring.ts';
import type { WrappedItems } from '../kms/wrapped-items.ts';
import { KEY_SOURCES, type KeySource } from './key-source-names.ts';

/* The keyrings that many machines are given by whoever runs them, in place of one that each of them has. */

/** Where the items lie that a KMS wraps. */
export type WrappedItemsSource = () => WrappedItems | Promise<WrappedItems>;

/** Each with the variable that chooses it. */
const SHARED: Readonly<Record<KeySource | 'kms', string>> = { ...KEY_SOURCES, kms: 'HOLDFAST_SEALING_KMS' };

/** Each is a candidate only when it is named, or its variable set. */
export function sharedOpeners(
  environment: Environment,
  layout: Layout,
  wrapped?: WrappedItemsSource,
): KeyringOpener[] {
  const shared = { tier: 'shared', onlyWhenNamed: true, mayRecover: true } as const;
  const here = async () => {
    const { StoreWrappedItems } = await import('../kms/wrapped-items.ts');
    const { DirectoryStore } = await import('../../store/directory.ts');
    return new StoreWrappedItems(new DirectoryStore(layout, environment));
  };
  return [
    ...(Object.keys(KEY_SOURCES) as KeySource[]).map((id) => ({
      ...shared,
      id,
      open: async () => (await import('./key-source.ts')).openKeySource(id, environment),
    })),
    {
      ...shared,
      id: 'kms',
      open: async () => {
        const { openKmsKeyring } = await import('../kms/kms-keyring.ts');
        return openKmsKeyring(environment, await (wrapped ?? here)());
      },
    },
  ];
}

/**
 * The keyring that a variable chooses by being set, where none is chosen by name.
 *
 * @throws InvalidArgumentError when two are set: which of two keys seals must not depend on an order that nobody knows
 */
export function chosenByVariable(
  { variables }: Environment,
  openers: readonly KeyringOpener[],
): string | undefined {
  const set = Object.entries(SHARED).filter(
    ([id, name]) => Boolean(variables[name]) && openers.some((opener) => opener.id === id),
  );
  const [first, second] = set;
  if (first !== undefined && second !== undefined) {
    throw new InvalidArgumentError(
      `Both ${first[1]} and ${second[1]} are set, and each names a sealing key.`,
      {
        hint: `Unset one of them, or say which one counts: HOLDFAST_KEYRING=${first[0]} or HOLDFAST_KEYRING=${second[0]}`,
      },
    );
  }
  return first?.[0];
}
