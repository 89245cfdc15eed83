# shellcheck shell=bash
# What quickstart.sh trains with, where its user does not say. Sourced.

# Is one of the options "$2…" the option $1, or is there a variable for it?
says() {
  local option=$1 own variable
  shift
  for own in "$@"; do
    own=${own//_/-}
    [[ $own != "$option" && $own != "$option="* ]] || return 0
  done
  variable=HOGPEN_${option#--}
  variable=${variable//-/_}
  variable=${variable^^}
  [[ -n ${!variable:-} ]]
}

# Adds "$1 $2" to `arguments` unless the options "$3…", or the environment, say that option.
add_default() {
  local option=$1 value=$2
  shift 2
  says "$option" "$@" || arguments+=("$option" "$value")
}

# Sets `arguments` to what stands before the user's own options, "$@".
choose_training() {
  arguments=()
  # The file, or the checkpoint, has settings of its own.
  if says --config "$@" || says --resume "$@"; then return; fi
  add_default --model "Linear(784,128) ReLU Linear(128,10)" "$@"
  add_default --data fashion-mnist "$@"
  says --nproc-per-node "$@" || add_default --workers 4 "$@"
  add_default --epochs 10 "$@"
  # Each optimizer has a rate that suits it.
  says --optimizer "$@" || add_default --lr 0.1 "$@"
  # A rate that falls to zero ends in the same place each time; a constant one ends anywhere within a point of accuracy.
  add_default --lr-schedule cosine "$@"
  add_default --batch-size 64 "$@"
}
