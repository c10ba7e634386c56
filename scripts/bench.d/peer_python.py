"""peer_python.py: peer (d), a consumer group in Python with redis-py, hiredis and msgpack (Debian packages).

    python3 peer_python.py SOCKET [COUNT]           runs until it is killed

As in peer_group.c: one connection reads, one batch ahead; the other writes XADD ..., one HSET, one XACK as one
pipeline. redis-py's connections are used directly: its pipeline objects and reply callbacks cost more than the work
itself. What repeats in every XADD is formatted once.
"""

import sys

import msgpack
import redis

DISCOUNT = {"vip": 0.15, "loyal": 0.10, "new": 0.05}


def connect(path):
    connection = redis.UnixDomainSocketConnection(path=path, decode_responses=False)
    connection.connect()
    return connection


def make_group(connection):
    connection.send_command("XGROUP", "CREATE", "events", "bench", "0", "MKSTREAM")
    try:
        connection.read_response()
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


def main():
    path = sys.argv[1]
    count = sys.argv[2] if len(sys.argv) > 2 else "500"
    reader, writer = connect(path), connect(path)
    make_group(writer)

    unpack, pack = msgpack.unpackb, msgpack.Packer().pack
    send, receive = writer.send_packed_command, writer.read_response
    read = reader.pack_command("XREADGROUP", "GROUP", "bench", "c1", "COUNT", count, "BLOCK", "1000",
                               "STREAMS", "events", ">")
    totals = {}
    in_flight = 0  # replies that the writer's connection still owes us

    reader.send_packed_command(read)
    while True:
        reply = reader.read_response()
        reader.send_packed_command(read)
        out = []
        if reply:
            ack, changed = [b"XACK", b"events", b"bench"], {}
            for entry_id, fields in reply[0][1]:
                ack.append(entry_id)
                event = unpack(fields[1])
                if event["type"] != "purchase":
                    continue
                user = event["user_id"]
                discount = DISCOUNT.get(event["segment"], 0)
                price = event["price"] * (1 - discount)
                total = totals.get(user, 0) + price * event["qty"]
                totals[user] = changed[user] = total
                offer = pack({"user_id": user, "sku": event["sku"], "price": price, "discount": discount,
                              "total": total, "ts": event["ts"]})
                out.append(b"*5\r\n$4\r\nXADD\r\n$6\r\noffers\r\n$1\r\n*\r\n$4\r\ndata\r\n$%d\r\n%b\r\n"
                           % (len(offer), offer))
            if changed:
                out.append(command([b"HSET", b"totals"] + [
                    word for user, total in changed.items() for word in (user.encode(), b"%r" % total)]))
            out.append(command(ack))
        for _ in range(in_flight):
            receive()
        if out:
            send([b"".join(out)])
        in_flight = len(out)


def command(words):
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]))


main()
