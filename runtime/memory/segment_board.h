#pragma once

#include <functional>

#include "runtime/core/fd.h"
#include "runtime/memory/mapping.h"

namespace hogpen {

/// The board of a family: where a process leaves the descriptor of a Segment, or of GPU memory, for whoever will be
/// told of it, also when it has ended by then. It is made with the shared heap; children forked later have the same
/// one.
///
/// It is a socket that is read without taking anything out. So everybody finds everything, and what was posted stays in
/// memory until it is taken off, which Segments are not, or the family has ended. It holds as many descriptors as the
/// socket's buffer does: some hundreds.

/// Makes the board. Throws: SystemError.
void open_segment_board();

/// Posts a Segment unless it is there. Throws: SystemError; Error when there is no board, or it is full.
void post_segment(const Mapping& mapping);

/// Posts any descriptor under a key that no file has, unless it is there. False when the board is full.
///
/// Throws: SystemError; Error when there is no board.
[[nodiscard]] bool post_on_board(FileId key, int fd);

/// False in a program that has joined a family by exec. Throws: SystemError.
[[nodiscard]] bool has_board();

/// The descriptor of a file that was posted; empty when none was, or there is no board. Throws: SystemError.
[[nodiscard]] Fd find_on_board(FileId file);

/// Takes off what `is_dead` says of. A process that is killed meanwhile may leave a note twice, which does no harm.
/// Throws: SystemError.
void clean_board(const std::function<bool(FileId)>& is_dead);

}  // namespace hogpen
