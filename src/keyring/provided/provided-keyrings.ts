import { InvalidArgumentError } from '../../errors.ts';
import type { Environment } from '../../system/environment.ts';
import type { KeyringOpener } from '../keyring.ts';
import type { WrappedItems } from '../kms/wrapped-items.ts';
import { KEY_SOURCES, type KeySource } from './key-source-names.ts';

/* Keyrings that an operator provides to many machines, in place of each machine's own. */

/** Opens the storage of the items that a KMS wraps. */
export type WrappedItemsSource = () => WrappedItems | Promise<WrappedItems>;

/** Each shared keyring, and the variable that chooses it. */
const SHARED: Readonly<Record<KeySource | 'kms', string>> = { ...KEY_SOURCES, kms: 'HOLDFAST_SEALING_KMS' };

/**
 * Each is a candidate only if the user names it or sets its variable.
 *
 * @param wrapped without it there is no `kms`
 */
export function sharedOpeners(
  environment: Environment,
  wrapped: WrappedItemsSource | undefined,
): KeyringOpener[] {
  const shared = { tier: 'shared', onlyWhenNamed: true, mayRecover: true } as const;
  return [
    ...(Object.keys(KEY_SOURCES) as KeySource[]).map((id) => ({
      ...shared,
      id,
      open: async () => (await import('./key-source.ts')).openKeySource(id, environment),
    })),
    ...(wrapped === undefined
      ? []
      : [
          {
            ...shared,
            id: 'kms',
            open: async () => {
              const { openKmsKeyring } = await import('../kms/kms-keyring.ts');
              return openKmsKeyring(environment, await wrapped());
            },
          },
        ]),
  ];
}

/**
 * The keyring that a set variable chooses, used when the user names no keyring.
 *
 * @throws InvalidArgumentError when two are set: the sealing key must not depend on an order that the user does not
 *   know
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
