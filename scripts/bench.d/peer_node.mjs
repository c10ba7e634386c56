// peer_node.mjs: peer (c), a consumer group in Node with node-redis 5 and msgpackr.
//
//     node peer_node.mjs SOCKET [COUNT]           runs until it is killed
//
// As in peer_group.c: one client reads, one batch ahead; the other writes. node-redis sends all commands of one turn
// of the event loop together, so each batch is one pipeline: XADD ..., one HSET, one XACK. Replies are mapped to
// Buffers (the payload is binary), and commands go through sendCommand: the typed methods rebuild every entry as an
// object. Totals are sent as text: in node-redis every Buffer argument is a write of its own.
import { createClient, RESP_TYPES } from "@redis/client";
import { Packr, Unpackr } from "msgpackr";

const DISCOUNT = new Map([["vip", 0.15], ["loyal", 0.10], ["new", 0.05]]);
const socketPath = process.argv[2];
const count = process.argv[3] ?? "500";
const unpackr = new Unpackr({ useRecords: false });
const packr = new Packr({ useRecords: false });

async function connect() {
  const client = createClient({ socket: { path: socketPath } });
  client.on("error", (error) => {
    console.error(`peer_node: ${error.message}`);
    process.exit(1);
  });
  await client.connect();
  return client;
}

const reader = await connect();
const writer = await connect();
const READ = ["XREADGROUP", "GROUP", "bench", "c1", "COUNT", count, "BLOCK", "1000", "STREAMS", "events", ">"];
const AS_BUFFERS = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } };
const read = () => reader.sendCommand(READ, AS_BUFFERS);

try {
  await writer.sendCommand(["XGROUP", "CREATE", "events", "bench", "0", "MKSTREAM"]);
} catch (error) {
  if (!error.message.startsWith("BUSYGROUP")) throw error;
}

const totals = new Map();

// Sends the effects of one batch; resolves when all of them are done.
function commit(entries) {
  const ack = ["XACK", "events", "bench"];
  const changed = new Set();
  const replies = [];
  for (const [id, fields] of entries) {
    ack.push(id.latin1Slice(0, id.length));
    const event = unpackr.unpack(fields[1]);
    if (event.type !== "purchase") continue;
    const user = event.user_id;
    const discount = DISCOUNT.get(event.segment) ?? 0;
    const price = event.price * (1 - discount);
    const total = (totals.get(user) ?? 0) + price * event.qty;
    totals.set(user, total);
    changed.add(user);
    const offer = packr.pack({ user_id: user, sku: event.sku, price, discount, total, ts: event.ts });
    replies.push(writer.sendCommand(["XADD", "offers", "*", "data", offer]));
  }
  if (changed.size > 0) {
    const hset = ["HSET", "totals"];
    for (const user of changed) hset.push(user, String(totals.get(user)));
    replies.push(writer.sendCommand(hset));
  }
  replies.push(writer.sendCommand(ack));
  return Promise.all(replies);
}

let next = read();
let committed = Promise.resolve();
for (;;) {
  const reply = await next;
  next = read();
  if (reply === null) continue;
  const previous = committed;
  committed = commit(reply[0][1]);
  await previous; // one batch in flight; an error ends the process
}
