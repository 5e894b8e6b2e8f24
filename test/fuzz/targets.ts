import type { Target } from './target.ts';
import { CHALLENGES } from './targets/challenges.ts';
import { CONFIGURATION } from './targets/configuration.ts';
import { HANDOVER } from './targets/handover.ts';
import { METADATA } from './targets/metadata.ts';
import { NOTES } from './targets/notes.ts';
import { PEER_FILES } from './targets/peers.ts';
import { REDIRECTS } from './targets/redirects.ts';
import { SEALED } from './targets/sealed.ts';
import { STREAMS } from './targets/streams.ts';
import { TOKEN_RESPONSES } from './targets/token-responses.ts';

/** Every entry point for foreign bytes. */
export const TARGETS: readonly Target[] = [
  ...CHALLENGES,
  ...METADATA,
  ...TOKEN_RESPONSES,
  ...REDIRECTS,
  ...STREAMS,
  ...CONFIGURATION,
  ...PEER_FILES,
  ...HANDOVER,
  ...SEALED,
  ...NOTES,
];
