//! Changes to inputs: bits, bytes, numbers, pieces of other inputs. Small, as what it cannot find
//! is for libFuzzer, which sees what code an input reaches.
//!
//! Invariant: the same seed and the same corpus give the same inputs.

use crate::SimRng;

/// Longest input, in bytes, unless one of the corpus is longer.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Numbers at which something may go wrong.
const EDGES: [u64; 14] = [
    0,
    1,
    7,
    8,
    0x7f,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];

/// A changed copy of one of the inputs.
///
/// # Panics
/// When there is no input to change.
pub fn mutate(corpus: &[Vec<u8>], rng: &mut SimRng) -> Vec<u8> {
    let mut input = rng.pick(corpus).clone();
    let longest = INPUT_BYTES_MAX.max(input.len());
    // Mostly few changes, so that most of an input still makes sense.
    let mut changes = 1;
    while changes < 32 && rng.chance(0.5) {
        changes += 1;
    }
    for _ in 0..changes {
        change(&mut input, corpus, rng);
        input.truncate(longest);
    }
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut SimRng) {
    if input.is_empty() {
        input.extend_from_slice(&rng.bits().to_le_bytes());
    }
    let at = rng.below(input.len() as u64) as usize;
    let left = input.len() - at;
    // Short pieces are as likely as long ones.
    let piece = |rng: &mut SimRng, left: usize| {
        let most = 1 << rng.below(1 + u64::from(left.max(1).ilog2()));
        1 + rng.below(most) as usize % left.max(1)
    };
    match rng.below(11) {
        0 => input[at] ^= 1 << rng.below(8),
        1 => input[at] = rng.bits() as u8,
        2 => number(&mut input[at..], rng),
        3 => near(&mut input[at..], rng),
        4 => input.truncate(at),
        5 => drop(input.drain(at..at + piece(rng, left))),
        6 => {
            let again = input[at..at + piece(rng, left)].to_vec();
            input.splice(at..at, again);
        }
        7 => {
            let mut noise = vec![0; piece(rng, 64)];
            rng.fill(&mut noise);
            input.splice(at..at, noise);
        }
        8 => {
            let other = rng.pick(corpus);
            if !other.is_empty() {
                let from = rng.below(other.len() as u64) as usize;
                let bytes = piece(rng, other.len() - from);
                let end = match rng.chance(0.5) {
                    true => at,
                    false => (at + bytes).min(input.len()),
                };
                input.splice(at..end, other[from..from + bytes].iter().copied());
            }
        }
        9 => {
            let (bytes, byte) = (piece(rng, left), *rng.pick(&[0, 0xff, b'.', b'"', b'\n']));
            input[at..at + bytes].fill(byte);
        }
        _ => input.extend_from_slice(&rng.pick(corpus).clone()),
    }
}

/// A number of 1 to 8 bytes at an edge.
fn number(bytes: &mut [u8], rng: &mut SimRng) {
    let number = rng.pick(&EDGES).to_le_bytes();
    let length = (*rng.pick(&[1, 2, 4, 8])).min(bytes.len());
    bytes[..length].copy_from_slice(&number[..length]);
}

/// A number of 4 bytes that is a little more or less than it was.
fn near(bytes: &mut [u8], rng: &mut SimRng) {
    if let Some(four) = bytes.first_chunk_mut::<4>() {
        let by = rng.below(33) as u32;
        *four = u32::from_le_bytes(*four)
            .wrapping_add(by)
            .wrapping_sub(16)
            .to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_the_same_inputs_and_another_gives_others() {
        let corpus = vec![vec![1; 100], b"orders.created".to_vec(), Vec::new()];
        let inputs = |seed| {
            let mut rng = SimRng::seeded(seed);
            let inputs = std::iter::repeat_with(|| mutate(&corpus, &mut rng));
            inputs.take(500).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert!(inputs(3).iter().all(|input| input.len() <= INPUT_BYTES_MAX));
    }
}
