import type { Command } from '../command.ts';
import { LOG } from '../options/log.ts';
import { KEPT } from '../options/shared.ts';

export const REFRESHER: Command = {
  name: 'refresher',
  summary: 'keep every login of the store warm: refresh each when it is due',
  description:
    'For a fleet, so that nobody waits for a refresh, and logins outlive times without use. Refreshes by the same protocol as\nevery other process, the nearest end first; run as many as you like. Opens no browser. It ends on SIGTERM, when the\nanswers under way are stored.',
  options: {
    ...KEPT,
    every: {
      type: 'string',
      value: 'SECONDS',
      summary: 'how often to look for new logins (default: 30)',
    },
    once: { type: 'boolean', summary: 'refresh what is due now, and end' },
    rate: {
      type: 'string',
      value: 'N',
      summary: 'refreshes begun a minute at one authorization server, at most (default: 600)',
    },
    'metrics-port': {
      type: 'string',
      value: 'PORT',
      summary: 'serve metrics for Prometheus on 127.0.0.1:PORT/metrics (0: any free port)',
    },
    log: LOG,
  },
  examples: [
    ['holdfast refresher --metrics-port 9464 --log json', 'as a service'],
    ['holdfast refresher --once', 'from cron'],
  ],
  load: () => import('../commands/refresher.ts'),
};
