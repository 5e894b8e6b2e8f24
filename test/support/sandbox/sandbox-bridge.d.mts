import type { Server, Socket } from 'node:net';

export function connecting(open: () => Socket): Server;
