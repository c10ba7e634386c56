# Tidemill: rules on Redis Streams. `make help` lists what can be made.
#
# Objects live out of the tree, one folder a variant:  make VARIANT=asan  builds with AddressSanitizer and UBSan.
VARIANT ?= release
BUILD   := build/$(VARIANT)
PREFIX  ?= /usr/local
LUAJIT  ?= luajit

PACKAGES   := luajit hiredis libevent msgpack yajl
PKG_CONFIG ?= pkg-config

CFLAGS_release  := -O2 -g
CFLAGS_asan     := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS_asan    := -fsanitize=address,undefined

TM_CFLAGS  = -std=gnu11 -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -fPIC \
             -fno-strict-aliasing -fvisibility=default -D_GNU_SOURCE -Isrc -I$(BUILD)/src \
             $(shell $(PKG_CONFIG) --cflags $(PACKAGES)) $(CFLAGS_$(VARIANT)) $(if $(CI),-Werror)
TM_LDFLAGS = $(LDFLAGS_$(VARIANT)) -rdynamic
TM_LIBS    = $(shell $(PKG_CONFIG) --libs $(PACKAGES)) -lm -ldl -lpthread

SOURCES := $(filter-out src/main.c,$(sort $(wildcard src/*/*.c)))
MODULES := $(sort $(wildcard src/runtime/*.lua src/runtime/*/*.lua))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) $(BUILD)/src/runtime/modules.o

.PHONY: all help clean
all: $(BUILD)/tidemill $(BUILD)/libtidemill.so ## build the engine (VARIANT=release or asan)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(TM_CFLAGS) $(CFLAGS) $(CPPFLAGS) -MMD -MP -c -o $@ $<

# The runtime's Lua becomes part of the binary.
$(BUILD)/src/runtime/modules.c: $(MODULES) scripts/embed.lua
	@mkdir -p $(@D)
	$(LUAJIT) scripts/embed.lua src/runtime $(MODULES) > $@.new && mv $@.new $@

$(BUILD)/src/runtime/modules.o: $(BUILD)/src/runtime/modules.c
	$(CC) $(TM_CFLAGS) $(CFLAGS) $(CPPFLAGS) -c -o $@ $<

# The same objects as a library: what specs load through FFI.
$(BUILD)/libtidemill.so: $(OBJECTS)
	$(CC) -shared $(TM_LDFLAGS) $(LDFLAGS) -o $@ $^ $(TM_LIBS)

$(BUILD)/tidemill: $(BUILD)/src/main.o $(OBJECTS)
	$(CC) $(TM_LDFLAGS) $(LDFLAGS) -o $@ $^ $(TM_LIBS)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | column -t -s "$$(printf '\t')"

clean: ## remove all that was built
	rm -rf build

-include $(OBJECTS:.o=.d) $(BUILD)/src/main.d
