-- peer.lua: the other end of a connection, played by the spec itself: accepts, reads and writes any
-- bytes at any moment.
--
-- For what a real Redis cannot be made to do: to fall silent in the middle of a reply, to answer
-- nonsense, to be old.
local ffi = require "ffi"
local bit = require "bit"
local files = require "spec.support.files"
local wait = require "spec.support.wait"

ffi.cdef [[
  struct spec_unix { uint16_t family; char path[108]; };
  int socket(int domain, int type, int protocol);
  int bind(int fd, const void *address, unsigned len);
  int listen(int fd, int backlog);
  int accept4(int fd, void *address, unsigned *len, int flags);
  int connect(int fd, const void *address, unsigned len);
  ssize_t recv(int fd, void *bytes, size_t len, int flags);
  ssize_t send(int fd, const void *bytes, size_t len, int flags);
  int close(int fd);
]]

local C = ffi.C
local AF_UNIX, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC, MSG_NOSIGNAL = 1, 1, 2048, 524288, 0x4000
local STREAM = bit.bor(SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC)

local peer = {}
local Peer = {}
Peer.__index = Peer
local Connection = {}
Connection.__index = Connection

local function address_of(path)
  assert(#path < 108, "the path of the socket is too long")
  return ffi.new("struct spec_unix", { family = AF_UNIX, path = path })
end

local room = ffi.new("char[65536]")

local function connection(fd)
  return setmetatable({ fd = fd, received = "" }, Connection)
end

-- Listens on a new unix socket; its `url` is for links.
function peer.listen()
  local folder = files.temp_folder()
  local self = setmetatable({ path = folder .. "/peer.sock", folder = folder, connections = {} },
    Peer)
  local at = address_of(self.path)
  self.url = "unix://" .. self.path
  self.fd = C.socket(AF_UNIX, STREAM, 0)
  assert(self.fd >= 0 and C.bind(self.fd, at, ffi.sizeof(at)) == 0 and C.listen(self.fd, 16) == 0)
  return self
end

-- The next connection, or nil when there is none yet.
function Peer:accept()
  local fd = C.accept4(self.fd, nil, nil, bit.bor(SOCK_NONBLOCK, SOCK_CLOEXEC))
  if fd < 0 then
    return nil
  end
  local c = connection(fd)
  table.insert(self.connections, c)
  return c
end

function Peer:close()
  for _, c in ipairs(self.connections) do
    c:close()
  end
  C.close(self.fd)
  files.remove_folder(self.folder)
end

-- Connects to a unix socket.
function peer.connect(path)
  local at, fd = address_of(path), C.socket(AF_UNIX, STREAM, 0)
  assert(fd >= 0 and C.connect(fd, at, ffi.sizeof(at)) == 0, "cannot connect to " .. path)
  return connection(fd)
end

-- Takes in what has arrived. Returns all that was received since the last take; `is_closed` is set
-- at the end of the stream.
function Connection:read()
  while not self.is_closed do
    local got = tonumber(C.recv(self.fd, room, ffi.sizeof(room), 0))
    if got == 0 then
      self.is_closed = true
    elseif got < 0 then
      self.is_closed = ffi.errno() ~= 11 -- EAGAIN
      break
    else
      self.received = self.received .. ffi.string(room, got)
    end
  end
  return self.received
end

-- What was received, and forgets it.
function Connection:take()
  local bytes = self:read()
  self.received = ""
  return bytes
end

-- Sends all bytes; false when the other side is gone.
function Connection:write(bytes)
  local at = 0
  while at < #bytes do
    local put = tonumber(C.send(self.fd, ffi.cast("const char *", bytes) + at, #bytes - at,
      MSG_NOSIGNAL))
    if put > 0 then
      at = at + put
    elseif ffi.errno() == 11 then
      wait.sleep(0.001)
    else
      return false
    end
  end
  return true
end

function Connection:close()
  if self.fd then
    C.close(self.fd)
    self.fd = nil
    self.is_closed = true
  end
end

-- What a Redis of `version` answers to the greeting: to CLIENT SETNAME and INFO.
function peer.greeting(version)
  local info = "# Server\r\nredis_version:" .. (version or "7.0.15") .. "\r\n"
  return ("+OK\r\n$%d\r\n%s\r\n"):format(#info, info)
end

return peer
