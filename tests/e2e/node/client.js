// kafkajs as a client of the end-to-end tests; the same lines as java/Reader.java prints.
// usage: node client.js read SETTINGS.json TOPIC MAX GROUP
//        node client.js write SETTINGS.json TOPIC COUNT PREFIX
//        node client.js topics SETTINGS.json
// SETTINGS: {"brokers": [...], "ca": file, "token": file}; without "ca" plain text and no login.
'use strict';
const fs = require('fs');
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs');
const snappy = require('snappyjs');
const lz4 = require('lz4js');
const fzstd = require('fzstd');

const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0]);

function unsnappy(data) {
  if (!data.subarray(0, 8).equals(XERIAL)) return Buffer.from(snappy.uncompress(data));
  const blocks = [];
  for (let at = 16; at < data.length;) {
    const length = data.readUInt32BE(at);
    blocks.push(Buffer.from(snappy.uncompress(data.subarray(at + 4, at + 4 + length))));
    at += 4 + length;
  }
  return Buffer.concat(blocks);
}

const codec = (compress, decompress) => () => ({ compress, decompress });
CompressionCodecs[CompressionTypes.Snappy] =
  codec(async (e) => Buffer.from(snappy.compress(e.buffer)), async (data) => unsnappy(data));
CompressionCodecs[CompressionTypes.LZ4] =
  codec(async (e) => Buffer.from(lz4.compress(e.buffer)),
    async (data) => Buffer.from(lz4.decompress(data)));
CompressionCodecs[CompressionTypes.ZSTD] =
  codec(async () => { throw new Error('no zstd compressor'); },
    async (data) => Buffer.from(fzstd.decompress(data)));

const hex = (b) => (b === null || b === undefined ? '-' : Buffer.from(b).toString('hex'));

// Synchronously: process.exit() does not wait for what process.stdout still holds.
function line(...words) {
  const data = Buffer.from(words.join('\t') + '\n');
  for (let at = 0; at < data.length;) at += fs.writeSync(1, data, at);
}

function headersOf(message) {
  const out = [];
  for (const [name, value] of Object.entries(message.headers || {})) {
    for (const one of Array.isArray(value) ? value : [value]) out.push(`${name}=${hex(one)}`);
  }
  return out.join(',');
}

function client(settings) {
  const options = { clientId: 'e2e-kafkajs', brokers: settings.brokers, logLevel: logLevel.NOTHING,
    retry: { retries: 3, initialRetryTime: 100 }, connectionTimeout: 5000,
    authenticationTimeout: 5000 };
  if (settings.ca) {
    options.ssl = { ca: [fs.readFileSync(settings.ca)] };
    options.sasl = { mechanism: 'oauthbearer', oauthBearerProvider: async () =>
      ({ value: fs.readFileSync(settings.token, 'ascii').trim() }) };
  }
  return new Kafka(options);
}

async function read(kafka, topic, max, group) {
  const consumer = kafka.consumer({ groupId: group, sessionTimeout: 10000, heartbeatInterval: 1000,
    maxWaitTimeInMs: 300, retry: { retries: 2, initialRetryTime: 100 } });
  let count = 0;
  const ended = new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, (e) => reject(e.payload.error));
    consumer.on(consumer.events.GROUP_JOIN, (e) =>
      line('assigned', (e.payload.memberAssignment[topic] || []).join(',')));
    consumer.connect()
      .then(() => consumer.subscribe({ topics: [topic], fromBeginning: true }))
      .then(() => consumer.run({ eachMessage: async ({ partition, message }) => {
        line('record', partition, message.offset, message.timestamp, hex(message.key),
          hex(message.value), headersOf(message));
        if (++count === max) resolve();
      } })).catch(reject);
  });
  await ended;
  await consumer.disconnect();
  line('end', count);
}

async function write(kafka, topic, count, prefix) {
  const producer = kafka.producer({ allowAutoTopicCreation: false, retry: { retries: 2 } });
  await producer.connect();
  const messages = [];
  for (let i = 0; i < count; i++) messages.push({ key: prefix + i, value: prefix + i });
  await producer.send({ topic, messages, compression: CompressionTypes.GZIP });
  await producer.disconnect();
  line('ok', 'sent');
}

async function topics(kafka) {
  const admin = kafka.admin();
  await admin.connect();
  line('ok', (await admin.listTopics()).join(','));
  await admin.disconnect();
}

async function main() {
  const [what, file, topic, count, last] = process.argv.slice(2);
  const kafka = client(JSON.parse(fs.readFileSync(file)));
  if (what === 'read') await read(kafka, topic, Number(count), last);
  else if (what === 'write') await write(kafka, topic, Number(count), last);
  else await topics(kafka);
}

main().then(() => process.exit(0), (error) => {
  const cause = error.cause || error.originalError;
  line('error', (cause && (cause.type || cause.name)) || error.type || error.name,
    String(error.message).replace(/\s+/g, ' '));
  process.exit(1);
});
